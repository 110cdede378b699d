/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The heaps during the chip's boot, line by line (see heap_system_boot_line).
 */
#include "heap_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Reads a decimal or 0x number at *text and moves *text past it. */
static bool take_number(const char **text, uint32_t *value)
{
    char *end;
    if (!isdigit((unsigned char)**text)) {
        return false;
    }
    unsigned long number = strtoul(*text, &end, 0);
    if (number > UINT32_MAX) {
        return false;
    }
    *value = (uint32_t)number;
    *text = end;
    return true;
}

static bool take_char(const char **text, char wanted)
{
    if (**text != wanted) {
        return false;
    }
    (*text)++;
    return true;
}

static bool boot_heap(heap_system_t *system, const char *value)
{
    uint32_t start, length;
    heap_type_t type;
    const char *text = value;
    if (!take_number(&text, &start) || !take_char(&text, ',') || !take_number(&text, &length) ||
        !take_char(&text, ',') || !heap_type_from_name(text, &type)) {
        return heap_fail(system, "heap=%.60s: not START,LENGTH,DRAM|DIRAM|IRAM|SPIRAM", value);
    }
    /* Internal memory is known at reset; external memory is added after it has been detected. */
    return type == HEAP_TYPE_SPIRAM ? heap_system_add_region(system, start, length, type)
                                    : heap_system_add_heap(system, start, length, type);
}

static bool boot_pool(heap_system_t *system, const char *value)
{
    uint32_t size, default_caps, no_minimum = 0;
    const char *text = value;
    if (!take_number(&text, &size) || !take_char(&text, ',') || !take_number(&text, &default_caps) ||
        (*text != '\0' && (!take_char(&text, ',') || !take_number(&text, &no_minimum))) || *text != '\0' ||
        default_caps > 1 || no_minimum > 1) {
        return heap_fail(system, "pool=%.60s: not SIZE,0 or SIZE,1, followed by ,1 if its minimum is 0",
                         value);
    }
    return heap_system_reserve_pool(system, size, default_caps == 1, no_minimum == 1);
}

static bool boot_startup(heap_system_t *system, const char *value)
{
    char names[128];
    uint32_t caps;
    const char *text = strchr(value, ':');
    if (text == NULL || (size_t)(text - value) >= sizeof(names)) {
        return heap_fail(system, "startup=%.60s: not CAPS:SIZE+SIZE:NAME", value);
    }
    memcpy(names, value, (size_t)(text - value));
    names[text - value] = '\0';
    if (!heap_caps_from_names(names, &caps)) {
        return heap_fail(system, "startup=%.60s: unknown capability in %s (such as INTERNAL,8BIT)", value,
                         names);
    }
    if (system->start_count == HEAP_STARTS_MAX) {
        return heap_fail(system, "startup=%.60s: more than %d lines (raise HEAP_STARTS_MAX)", value,
                         HEAP_STARTS_MAX);
    }
    if (!heap_record_reset_heaps(system)) {
        return false;
    }
    heap_start_t *start = &system->starts[system->start_count];
    memset(start, 0, sizeof(*start));
    do {
        uint32_t size;
        text++;
        if (!take_number(&text, &size) || (*text != '+' && *text != ':' && *text != '\0')) {
            return heap_fail(system, "startup=%.60s: not CAPS:SIZE+SIZE:NAME", value);
        }
        if (start->count == HEAP_START_BLOCKS) {
            return heap_fail(system, "startup=%.60s: more than %d blocks (use another line)", value,
                             HEAP_START_BLOCKS);
        }
        uint32_t address = heap_system_malloc(system, size, caps);
        if (address == 0) {
            return heap_fail(system,
                             "startup=%.60s: no memory for %" PRIu32
                             " bytes (the profile starts with more than the chip has)",
                             value, size);
        }
        start->addresses[start->count++] = address;
    } while (*text == '+');
    strncpy(start->name, *text == ':' ? text + 1 : "", sizeof(start->name) - 1);
    system->start_count++;
    return true;
}

/* Frees the blocks and forgets the `startup=` line's name, because other blocks may soon reuse the
 * addresses. */
static bool boot_free(heap_system_t *system, const char *value)
{
    for (uint32_t i = 0; i < system->start_count; i++) {
        heap_start_t *start = &system->starts[i];
        if (strcmp(start->name, value) == 0) {
            while (start->count > 0) {
                heap_system_free(system, start->addresses[--start->count]);
            }
            start->name[0] = '\0';
            return true;
        }
    }
    return heap_fail(system, "free=%.60s: no earlier startup line has this name", value);
}

bool heap_system_boot_line(heap_system_t *system, const char *key, const char *value)
{
    system->error[0] = '\0';
    if (strcmp(key, "heap") == 0) {
        return boot_heap(system, value);
    }
    if (strcmp(key, "startup") == 0) {
        return boot_startup(system, value);
    }
    if (strcmp(key, "pool") == 0) {
        return boot_pool(system, value);
    }
    if (strcmp(key, "free") == 0) {
        return boot_free(system, value);
    }
    return heap_fail(system, "%.40s=: unknown key (heap, startup, free or pool)", key);
}

uint32_t heap_system_boot_block(const heap_system_t *system, const char *name, uint32_t index)
{
    for (uint32_t i = 0; i < system->start_count; i++) {
        const heap_start_t *start = &system->starts[i];
        if (strcmp(start->name, name) == 0) {
            return index < start->count ? start->addresses[index] : 0;
        }
    }
    return 0;
}
