/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "watch.h"

#include <stdbool.h>
#include "esp_task_wdt.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#if CONFIG_ESP_TASK_WDT_INIT
_Static_assert(2 * WATCH_SLICE_MS <= CONFIG_ESP_TASK_WDT_TIMEOUT_S * 1000,
               "WATCH_SLICE_MS starves the watchdog");
#endif

static bool s_watched;

void watch_begin(void)
{
    s_watched = esp_task_wdt_add(NULL) == ESP_OK;
}

void watch_feed(void)
{
    if (s_watched) {
        esp_task_wdt_reset();
    }
}

void watch_suspend(void)
{
    if (s_watched) {
        esp_task_wdt_delete(NULL);
    }
}

void watch_resume(void)
{
    if (s_watched) {
        watch_begin();
    }
}

void watch_pause(uint32_t ms)
{
    watch_feed();
    while (ms > 0) {
        uint32_t slice_ms = ms < WATCH_SLICE_MS ? ms : WATCH_SLICE_MS;
        vTaskDelay(pdMS_TO_TICKS(slice_ms));
        ms -= slice_ms;
        watch_feed();
    }
}
