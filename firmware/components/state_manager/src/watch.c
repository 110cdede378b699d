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

static bool s_exists;  /* the build has a task watchdog */
static bool s_wanted;  /* false while suspended */
static bool s_watched; /* the task is subscribed */

/* Subscribing allocates memory, so it may fail; each watch_feed() tries again. */
static esp_err_t subscribe(void)
{
    if (s_watched) {
        return ESP_OK;
    }
    esp_err_t err = esp_task_wdt_add(NULL);
    s_watched = err == ESP_OK || err == ESP_ERR_INVALID_ARG; /* INVALID_ARG: already subscribed */
    return err;
}

void watch_begin(void)
{
    s_exists = subscribe() != ESP_ERR_INVALID_STATE;
    s_wanted = s_exists;
}

void watch_feed(void)
{
    if (s_wanted && subscribe() == ESP_OK) {
        esp_task_wdt_reset();
    }
}

void watch_suspend(void)
{
    s_wanted = false;
    if (s_watched) {
        s_watched = false;
        esp_task_wdt_delete(NULL);
    }
}

void watch_resume(void)
{
    s_wanted = s_exists;
    watch_feed();
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
