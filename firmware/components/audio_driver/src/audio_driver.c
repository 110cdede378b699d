/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "audio_driver.h"

#include <inttypes.h>

#include "array_size.h"
#include "audio_backend.h"
#include "esp_check.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

static const char *TAG = "AUDIO";

/* Longest wait for the first samples after the channels start; longer than two DMA buffers take. */
#define FIRST_SAMPLES_TIMEOUT_MS 200

static bool s_initialized;

static const size_t BLOCKS[] = {
    AUDIO_PLAYBACK_BUFFER_BYTES, AUDIO_PLAYBACK_BUFFER_BYTES, AUDIO_PLAYBACK_BUFFER_BYTES,
    AUDIO_PLAYBACK_BUFFER_BYTES, AUDIO_CAPTURE_BUFFER_BYTES,  AUDIO_CAPTURE_BUFFER_BYTES,
    AUDIO_CAPTURE_BUFFER_BYTES,  AUDIO_CAPTURE_BUFFER_BYTES,
};
_Static_assert(ARRAY_SIZE(BLOCKS) == 2 * AUDIO_DMA_BUFFERS, "one block for each DMA buffer");

const size_t *audio_driver_blocks(size_t *count)
{
    *count = ARRAY_SIZE(BLOCKS);
    return BLOCKS;
}

/**
 * Plays silence and drops microphone samples during the settling time. This also detects a direction without
 * an interrupt: if the interrupt cannot be allocated, ESP-IDF v5.4 starts the direction without an error.
 */
static esp_err_t settle(void)
{
    int16_t samples[128] = {0};
    size_t moved;
    ESP_RETURN_ON_ERROR(audio_backend_write(samples, sizeof(samples), &moved, FIRST_SAMPLES_TIMEOUT_MS), TAG,
                        "playback accepts no samples");
    ESP_RETURN_ON_ERROR(audio_backend_read(samples, sizeof(samples), &moved, FIRST_SAMPLES_TIMEOUT_MS), TAG,
                        "capture delivers no samples");
    TickType_t start = xTaskGetTickCount();
    while (xTaskGetTickCount() - start < pdMS_TO_TICKS(CONFIG_HOTPIN_AUDIO_SETTLE_MS)) {
        ESP_RETURN_ON_ERROR(audio_backend_read(samples, sizeof(samples), &moved, FIRST_SAMPLES_TIMEOUT_MS),
                            TAG, "capture has stopped");
    }
    return ESP_OK;
}

esp_err_t audio_driver_init(void)
{
    ESP_RETURN_ON_FALSE(!s_initialized, ESP_ERR_INVALID_STATE, TAG, "already initialised");
    uint32_t free_before = (uint32_t)heap_caps_get_free_size(AUDIO_DMA_CAPS);
    esp_err_t err = audio_backend_open();
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "Start failed: %s (DMA memory free %" PRIu32 " bytes, largest block %" PRIu32 ")",
                 esp_err_to_name(err), (uint32_t)heap_caps_get_free_size(AUDIO_DMA_CAPS),
                 (uint32_t)heap_caps_get_largest_free_block(AUDIO_DMA_CAPS));
        return err;
    }
    err = settle();
    if (err != ESP_OK) {
        audio_backend_close();
        return err;
    }
    s_initialized = true;
    ESP_LOGI(TAG, "Started: %u Hz, DMA memory free %" PRIu32 " -> %" PRIu32 " bytes", AUDIO_SAMPLE_RATE_HZ,
             free_before, (uint32_t)heap_caps_get_free_size(AUDIO_DMA_CAPS));
    return ESP_OK;
}

esp_err_t audio_driver_deinit(void)
{
    ESP_RETURN_ON_FALSE(s_initialized, ESP_ERR_INVALID_STATE, TAG, "not initialised");
    s_initialized = false;
    audio_backend_close();
    ESP_LOGI(TAG, "Stopped, DMA memory free %" PRIu32 " bytes",
             (uint32_t)heap_caps_get_free_size(AUDIO_DMA_CAPS));
    return ESP_OK;
}

bool audio_driver_is_initialized(void)
{
    return s_initialized;
}

esp_err_t audio_driver_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms)
{
    size_t done = 0;
    ESP_RETURN_ON_FALSE(data != NULL && len > 0 && len % AUDIO_PLAYBACK_FRAME_BYTES == 0, ESP_ERR_INVALID_ARG,
                        TAG, "%u bytes at %p: not a whole number of stereo frames", (unsigned)len, data);
    ESP_RETURN_ON_FALSE(s_initialized, ESP_ERR_INVALID_STATE, TAG, "not initialised");
    esp_err_t err = audio_backend_write(data, len, &done, timeout_ms);
    if (written != NULL) {
        *written = done;
    }
    return err;
}

esp_err_t audio_driver_read(void *data, size_t len, size_t *got, uint32_t timeout_ms)
{
    size_t done = 0;
    ESP_RETURN_ON_FALSE(data != NULL && len > 0 && len % (2 * AUDIO_CAPTURE_FRAME_BYTES) == 0,
                        ESP_ERR_INVALID_ARG, TAG, "%u bytes at %p: not a whole number of sample pairs",
                        (unsigned)len, data);
    ESP_RETURN_ON_FALSE(s_initialized, ESP_ERR_INVALID_STATE, TAG, "not initialised");
    esp_err_t err = audio_backend_read(data, len, &done, timeout_ms);
    if (got != NULL) {
        *got = done;
    }
    return err;
}
