/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * RTC slow memory, and the reset hint in it.
 */
#pragma once

#include <stdint.h>

enum {
    NATIVE_RESET_NO_HINT = 0, /* any other hint is an esp_reset_reason_t */
};

void native_rtc_init(void);
uint32_t native_rtc_hint_take(void);
void native_rtc_hint_set(uint32_t reason);
