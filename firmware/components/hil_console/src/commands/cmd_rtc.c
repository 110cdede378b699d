/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * sys.rtc: damages the RTC memory that survives a reset, as radiation or a low voltage could.
 */
#include <string.h>

#include "console.h"

/* From ESP-IDF's linker script: variables with RTC_NOINIT_ATTR. */
extern uint8_t _rtc_noinit_start[];
extern uint8_t _rtc_noinit_end[];

#define FOUND_MAX 16

static size_t rtc_size(void)
{
    return (size_t)(_rtc_noinit_end - _rtc_noinit_start);
}

static void add_places(console_reply_t *reply, uint32_t word)
{
    size_t found = 0;
    console_array_begin(reply, "found");
    for (size_t at = 0; at + sizeof(word) <= rtc_size() && found < FOUND_MAX; at += sizeof(word)) {
        if (memcmp(&_rtc_noinit_start[at], &word, sizeof(word)) == 0) {
            telemetry_u32(console_room(reply, sizeof("4294967295,")), NULL, (uint32_t)at);
            found++;
        }
    }
    console_container_end(reply);
}

static esp_err_t sys_rtc(const console_request_t *request, console_reply_t *reply)
{
    uint32_t at = console_arg_u32(request, "at", 0);
    uint32_t step = console_arg_u32(request, "step", UINT32_MAX);
    if (at >= rtc_size()) {
        return console_bad_argument(reply, "at", console_arg(request, "at"),
                                    "must be less than the size of the memory");
    }
    if (step == 0) {
        return console_bad_argument(reply, "step", "0", "must be at least 1");
    }
    uint32_t flipped = 0;
    if (console_arg(request, "at") != NULL) {
        for (uint64_t byte = at; byte < rtc_size(); byte += step) {
            _rtc_noinit_start[byte] ^= 1;
            flipped++;
        }
    }
    console_u32(reply, "bytes", (uint32_t)rtc_size());
    console_u32(reply, "flipped", flipped);
    if (console_arg(request, "find") != NULL) {
        add_places(reply, console_arg_u32(request, "find", 0));
    }
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"sys.rtc", "[at=N] [step=N] [find=N]", sys_rtc,
     "flip a bit in byte at= of the RTC memory that survives a reset (step=: also in every step=-th byte "
     "after it); find=: positions of a 32-bit number"},
};

const console_group_t CMD_RTC = CONSOLE_GROUP(COMMANDS);
