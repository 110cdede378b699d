/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_output.h"

#include <string.h>

#include "telemetry.h"

static size_t s_used; /* bytes used of telemetry_scratch() */

void console_output_write(const char *text, size_t length)
{
    while (length > 0) {
        if (s_used == TELEMETRY_SCRATCH_SIZE) {
            console_output_flush();
        }
        size_t room = TELEMETRY_SCRATCH_SIZE - s_used;
        size_t part = length < room ? length : room;
        memcpy(telemetry_scratch() + s_used, text, part);
        s_used += part;
        text += part;
        length -= part;
    }
}

void console_output_text(const char *text)
{
    console_output_write(text, strlen(text));
}

void console_output_flush(void)
{
    size_t length = s_used;
    s_used = 0;
    if (length > 0) {
        telemetry_write(telemetry_scratch(), length);
    }
}
