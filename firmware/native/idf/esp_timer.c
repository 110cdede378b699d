/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * esp_timer: the clock only. The project creates no timers, so there is no timer task.
 */
#include "chip/params.h"
#include "esp_timer.h"
#include "kernel/clock.h"
#include "kernel/run.h"

int64_t esp_timer_get_time(void)
{
    native_poll_cost();
    return (int64_t)(native_now_us() - g_native_params.start_us);
}
