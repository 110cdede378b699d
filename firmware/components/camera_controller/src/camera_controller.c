/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "camera_controller.h"

#include <inttypes.h>

#include "array_size.h"
#include "camera_backend.h"
#include "esp_check.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "jpeg_markers.h"
#include "sdkconfig.h"

static const char *TAG = "CAMERA";

static bool s_initialized;

static const size_t BLOCKS[] = {CAMERA_DMA_BUFFER_BYTES, CONFIG_CAMERA_TASK_STACK_SIZE};
static const size_t PSRAM_BLOCKS[] = {
    CAMERA_BUS_BYTES,
    CAMERA_BUS_DEVICE_BYTES,
    CAMERA_ALIGNED_NEED(CAMERA_DESCRIPTOR_BYTES, CAMERA_DESCRIPTOR_ALIGNMENT),
};
static const size_t FRAME_BLOCKS[] = {CAMERA_ALIGNED_NEED(CAMERA_FRAME_BYTES, CAMERA_FRAME_ALIGNMENT)};

const size_t *camera_controller_blocks(size_t *count)
{
    *count = ARRAY_SIZE(BLOCKS);
    return BLOCKS;
}

const size_t *camera_controller_psram_blocks(size_t *count)
{
    *count = ARRAY_SIZE(PSRAM_BLOCKS);
    return PSRAM_BLOCKS;
}

const size_t *camera_controller_frame_blocks(size_t *count)
{
    *count = ARRAY_SIZE(FRAME_BLOCKS);
    return FRAME_BLOCKS;
}

static uint32_t dma_free_bytes(void)
{
    return (uint32_t)heap_caps_get_free_size(CAMERA_DMA_CAPS);
}

esp_err_t camera_controller_init(void)
{
    ESP_RETURN_ON_FALSE(!s_initialized, ESP_ERR_INVALID_STATE, TAG, "already initialised");
    ESP_RETURN_ON_FALSE(heap_caps_get_total_size(CAMERA_FRAME_CAPS) > 0, ESP_ERR_NO_MEM, TAG,
                        "No PSRAM for a frame of %u bytes", CAMERA_FRAME_BYTES);
    uint32_t free_before = dma_free_bytes();
    esp_err_t err = camera_backend_power_up();
    if (err == ESP_OK) {
        err = camera_backend_open();
    }
    if (err != ESP_OK) {
        camera_backend_power_down();
        ESP_LOGE(TAG,
                 "Start failed: %s (DMA memory free %" PRIu32 " bytes, largest block %" PRIu32
                 "; it needs one of %u)",
                 esp_err_to_name(err), dma_free_bytes(),
                 (uint32_t)heap_caps_get_largest_free_block(CAMERA_DMA_CAPS), CAMERA_DMA_BUFFER_BYTES);
        return err;
    }
    s_initialized = true;
    ESP_LOGI(TAG, "Started: %ux%u JPEG, DMA memory free %" PRIu32 " -> %" PRIu32 " bytes", CAMERA_WIDTH,
             CAMERA_HEIGHT, free_before, dma_free_bytes());
    return ESP_OK;
}

esp_err_t camera_controller_deinit(void)
{
    ESP_RETURN_ON_FALSE(s_initialized, ESP_ERR_INVALID_STATE, TAG, "not initialised");
    s_initialized = false;
    camera_backend_close();
    ESP_RETURN_ON_ERROR(camera_backend_power_down(), TAG, "the sensor stays powered");
    ESP_LOGI(TAG, "Stopped, DMA memory free %" PRIu32 " bytes", dma_free_bytes());
    return ESP_OK;
}

bool camera_controller_is_initialized(void)
{
    return s_initialized;
}

/**
 * Gets a frame that begins after `since_us`. The driver refills a returned buffer at once and keeps the
 * frame, so the first frame that it delivers may be as old as the previous call.
 */
static esp_err_t take_fresh(int64_t since_us, camera_backend_frame_t *frame)
{
    for (;;) {
        ESP_RETURN_ON_ERROR(camera_backend_take(frame), TAG, "no frame");
        if (frame->taken_us >= since_us) {
            return ESP_OK;
        }
        camera_backend_give(frame);
        if (esp_timer_get_time() - since_us > (int64_t)CONFIG_HOTPIN_CAMERA_FRAME_TIMEOUT_MS * 1000) {
            ESP_LOGE(TAG, "only stale frames within %d ms", CONFIG_HOTPIN_CAMERA_FRAME_TIMEOUT_MS);
            return ESP_ERR_TIMEOUT;
        }
    }
}

esp_err_t camera_controller_capture(camera_frame_info_t *out)
{
    ESP_RETURN_ON_FALSE(out != NULL, ESP_ERR_INVALID_ARG, TAG, "out is NULL");
    ESP_RETURN_ON_FALSE(s_initialized, ESP_ERR_INVALID_STATE, TAG, "not initialised");
    *out = (camera_frame_info_t){0};
    camera_backend_frame_t frame;
    int64_t start_us = esp_timer_get_time();
    esp_err_t err = take_fresh(start_us, &frame);
    if (err != ESP_OK) {
        return err;
    }
    jpeg_markers_t markers = jpeg_find_markers(frame.data, frame.len);
    *out = (camera_frame_info_t){
        .width = frame.width,
        .height = frame.height,
        .bytes = (uint32_t)frame.len,
        .soi = markers.soi,
        .eoi = markers.eoi,
        .duration_ms = (uint32_t)((esp_timer_get_time() - start_us) / 1000),
    };
    camera_backend_give(&frame);
    bool whole = markers.soi && markers.eoi && markers.width == CAMERA_WIDTH &&
                 markers.height == CAMERA_HEIGHT && out->width == CAMERA_WIDTH &&
                 out->height == CAMERA_HEIGHT;
    ESP_RETURN_ON_FALSE(whole, ESP_ERR_INVALID_RESPONSE, TAG,
                        "bad frame: %" PRIu32 " bytes, start %d, end %d, %" PRIu32 "x%" PRIu32, out->bytes,
                        markers.soi, markers.eoi, markers.width, markers.height);
    ESP_LOGI(TAG, "Frame: %" PRIu32 " bytes after %" PRIu32 " ms", out->bytes, out->duration_ms);
    return ESP_OK;
}
