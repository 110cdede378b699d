/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_output.h"

#include <string.h>

#include "telemetry.h"

static size_t s_used; /* of telemetry_scratch() */

void console_put(const char *text, size_t length)
{
    while (length > 0) {
        if (s_used == TELEMETRY_SCRATCH_SIZE) {
            console_flush();
        }
        size_t room = TELEMETRY_SCRATCH_SIZE - s_used;
        size_t part = length < room ? length : room;
        memcpy(telemetry_scratch() + s_used, text, part);
        s_used += part;
        text += part;
        length -= part;
    }
}

void console_write_text(const char *text)
{
    console_put(text, strlen(text));
}

void console_flush(void)
{
    size_t length = s_used;
    s_used = 0;
    if (length > 0) {
        telemetry_write(telemetry_scratch(), length);
    }
}
