/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * memory_manager alone: a cache grows until the manager warns; the application then empties it, and waits for
 * the recovery. This repeats endlessly.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "nvs_flash.h"
#include "telemetry.h"

#define INTERVAL_MS 1000
#define BLOCK_SIZE 4096
#define BLOCK_EVERY_MS 250 /* 16 KB per sample: the warning comes before the critical level */
#define BLOCKS_MAX 128

static const char *TAG = "minimal";
static TaskHandle_t s_main_task;
static void *s_blocks[BLOCKS_MAX];

/* Callback for warnings and recoveries. The monitor task, which calls it, has too small a stack for ESP_LOGx,
 * so it only passes the value on. */
static void on_change(const memory_warning_t *warning)
{
    if (warning->type == MEMORY_WARNING_INTERNAL_LOW) {
        xTaskNotify(s_main_task, warning->current_value, eSetValueWithOverwrite);
    }
}

/* Allocates blocks until the warning; returns their number. */
static size_t fill_cache(void)
{
    size_t count = 0;
    uint32_t free_bytes;
    while ((free_bytes = ulTaskNotifyTake(pdTRUE, pdMS_TO_TICKS(BLOCK_EVERY_MS))) == 0) {
        if (count < BLOCKS_MAX) {
            s_blocks[count] = heap_caps_malloc(BLOCK_SIZE, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT);
            count += s_blocks[count] != NULL;
        }
    }
    ESP_LOGW(TAG, "Warning at %" PRIu32 " bytes free; the cache has %u blocks", free_bytes, (unsigned)count);
    return count;
}

/* Frees the blocks, and waits for the recovery. */
static void empty_cache(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        heap_caps_free(s_blocks[i]);
    }
    uint32_t free_bytes = ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    ESP_LOGI(TAG, "Recovery at %" PRIu32 " bytes free", free_bytes);
}

void app_main(void)
{
    esp_err_t err = nvs_flash_init(); /* telemetry counts the boots in NVS, but also starts without it */
    if (err != ESP_OK) {
        ESP_LOGW(TAG, "NVS: %s", esp_err_to_name(err));
    }
    ESP_ERROR_CHECK(telemetry_init());

    memory_thresholds_t thresholds = MEMORY_THRESHOLDS_DEFAULT();
    thresholds.psram_warning = 0; /* this board has no PSRAM: no warning */
    thresholds.psram_critical = 0;
    s_main_task = xTaskGetCurrentTaskHandle();
    ESP_ERROR_CHECK(memory_manager_init(&thresholds));
    ESP_ERROR_CHECK(memory_manager_register_warning_callback(on_change));
    ESP_ERROR_CHECK(memory_manager_register_recovery_callback(on_change));
    ESP_ERROR_CHECK(memory_manager_start_monitoring(INTERVAL_MS));

    for (;;) {
        ESP_ERROR_CHECK(memory_manager_log_stats("Cache empty"));
        size_t count = fill_cache();
        ESP_ERROR_CHECK(memory_manager_log_stats("Cache full"));
        empty_cache(count);
    }
}
