/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_caps.h"

#include <string.h>

#include "array_size.h"
#include "esp_heap_caps.h"

static const struct {
    uint32_t bit;
    const char *name;
} CAPABILITIES[] = {
    {MALLOC_CAP_DMA, "DMA"},       {MALLOC_CAP_8BIT, "8BIT"},         {MALLOC_CAP_32BIT, "32BIT"},
    {MALLOC_CAP_SPIRAM, "SPIRAM"}, {MALLOC_CAP_INTERNAL, "INTERNAL"}, {MALLOC_CAP_DEFAULT, "DEFAULT"},
    {MALLOC_CAP_EXEC, "EXEC"},
};

#define CAPABILITY_COUNT ARRAY_SIZE(CAPABILITIES)

bool console_caps_parse(const char *list, uint32_t *caps)
{
    uint32_t found = 0;
    while (true) {
        size_t length = strcspn(list, ",");
        size_t i = 0;
        while (i < CAPABILITY_COUNT &&
               (strlen(CAPABILITIES[i].name) != length || memcmp(CAPABILITIES[i].name, list, length) != 0)) {
            i++;
        }
        if (i == CAPABILITY_COUNT) {
            return false;
        }
        found |= CAPABILITIES[i].bit;
        list += length;
        if (*list == '\0') {
            *caps = found;
            return true;
        }
        list++;
    }
}

const char *console_caps_format(uint32_t caps, char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < CAPABILITY_COUNT; i++) {
        size_t length = strlen(CAPABILITIES[i].name);
        if ((caps & CAPABILITIES[i].bit) != 0 && used + length + 2 <= size) {
            if (used > 0) {
                text[used++] = ',';
            }
            memcpy(text + used, CAPABILITIES[i].name, length);
            used += length;
        }
    }
    text[used] = '\0';
    return text;
}

uint32_t console_caps_bit(size_t index)
{
    return index < CAPABILITY_COUNT ? CAPABILITIES[index].bit : 0;
}
