/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The simulated camera, for QEMU, which has no sensor. It allocates the blocks that esp32-camera allocates,
 * with a task of the same stack size, and delivers well-formed frames at 15 frames per second.
 */
#include <string.h>

#include "array_size.h"
#include "camera_backend.h"
#include "camera_controller.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"
#include "task_core.h"

static const char *TAG = "CAMERA_SIM";

#define FRAME_INTERVAL_MS 66
#define OBJECT_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
/* Capabilities that esp32-camera requests for its DMA buffer. With 8BIT, ESP-IDF 5.5 would choose another
 * heap. */
#define BUFFER_CAPS MALLOC_CAP_DMA

typedef struct {
    uint16_t size;
    uint32_t caps;
    uint8_t alignment; /* 0: any, by heap_caps_malloc() */
} block_t;

/* Same sizes as in firmware/native's model of the driver; the sum is the median measured on boards. */
static const block_t BLOCKS[] = {
    {92, CAMERA_DMA_CAPS, 0},                                                  /* the driver's object */
    {32, OBJECT_CAPS, 0},                                                      /* the sensor and the clock */
    {CAMERA_BUS_BYTES, CAMERA_FRAME_CAPS, 0},                                  /* the sensor's bus */
    {CAMERA_BUS_DEVICE_BYTES, CAMERA_FRAME_CAPS, 0},                           /* also the sensor's bus */
    {CAMERA_DESCRIPTOR_BYTES, CAMERA_FRAME_CAPS, CAMERA_DESCRIPTOR_ALIGNMENT}, /* frame descriptor */
    {CAMERA_FRAME_BYTES, CAMERA_FRAME_CAPS, CAMERA_FRAME_ALIGNMENT}, /* the frame buffer: index FRAME */
    {CAMERA_DMA_BUFFER_BYTES, BUFFER_CAPS, 0},                       /* the DMA buffer, in one piece */
    {CAMERA_DMA_BUFFER_BYTES / 2048 * 12, CAMERA_DMA_CAPS, 0},       /* its descriptors */
    {112, OBJECT_CAPS, 0},                                           /* queue of events */
    {88, OBJECT_CAPS, 0},                                            /* queue of frames */
    {8, OBJECT_CAPS, 0},                                             /* interrupt */
};
#define FRAME 5
#define BLOCK_COUNT ARRAY_SIZE(BLOCKS)

static void *s_blocks[BLOCK_COUNT];
static TaskHandle_t s_task;

esp_err_t camera_backend_power_up(void)
{
    vTaskDelay(pdMS_TO_TICKS(2 * CONFIG_HOTPIN_CAMERA_PWDN_MS));
    return ESP_OK;
}

esp_err_t camera_backend_power_down(void)
{
    return ESP_OK;
}

/** Blocks forever, like the driver's task while no frame is requested. */
static void task_main(void *arg)
{
    (void)arg;
    for (;;) {
        ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    }
}

static void *allocate(const block_t *block)
{
    return block->alignment == 0 ? heap_caps_malloc(block->size, block->caps)
                                 : heap_caps_aligned_alloc(block->alignment, block->size, block->caps);
}

static void free_blocks(void)
{
    for (size_t i = BLOCK_COUNT; i-- > 0;) {
        heap_caps_free(s_blocks[i]);
        s_blocks[i] = NULL;
    }
}

esp_err_t camera_backend_open(void)
{
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        s_blocks[i] = allocate(&BLOCKS[i]);
        if (s_blocks[i] == NULL) {
            ESP_LOGE(TAG, "no free block of %u bytes", BLOCKS[i].size);
            free_blocks();
            return ESP_ERR_NO_MEM;
        }
    }
    if (xTaskCreatePinnedToCore(task_main, "cam_task", CONFIG_CAMERA_TASK_STACK_SIZE, NULL,
                                configMAX_PRIORITIES - 2, &s_task, TASK_CORE_DRIVERS) != pdPASS) {
        ESP_LOGE(TAG, "no memory for a task");
        s_task = NULL;
        free_blocks();
        return ESP_ERR_NO_MEM;
    }
    return ESP_OK;
}

void camera_backend_close(void)
{
    vTaskDelete(s_task);
    s_task = NULL;
    free_blocks();
}

/** Writes SOI, a frame header with the size, a scan of noise without markers, and EOI. */
static size_t draw(uint8_t *frame)
{
    static const uint8_t HEAD[] = {
        0xFF,
        0xD8,
        0xFF,
        0xC0,
        0,
        11,
        8,
        CAMERA_HEIGHT >> 8,
        CAMERA_HEIGHT & 0xFF,
        CAMERA_WIDTH >> 8,
        CAMERA_WIDTH & 0xFF,
        1,
        1,
        0x11,
        0,
        0xFF,
        0xDA,
        0,
        8,
        1,
        1,
        0,
        0,
        63,
        0,
    };
    size_t end = CAMERA_FRAME_BYTES / 3;
    memcpy(frame, HEAD, sizeof(HEAD));
    uint32_t noise = (uint32_t)esp_timer_get_time();
    for (size_t i = sizeof(HEAD); i < end; i++) {
        noise = noise * 1664525u + 1013904223u;
        frame[i] = (uint8_t)(noise >> 24 == 0xFF ? 0 : noise >> 24);
    }
    frame[end] = 0xFF;
    frame[end + 1] = 0xD9;
    return end + 2;
}

esp_err_t camera_backend_take(camera_backend_frame_t *frame)
{
    vTaskDelay(pdMS_TO_TICKS(FRAME_INTERVAL_MS));
    *frame = (camera_backend_frame_t){
        .data = s_blocks[FRAME],
        .width = CAMERA_WIDTH,
        .height = CAMERA_HEIGHT,
        .taken_us = esp_timer_get_time(),
    };
    frame->len = draw(s_blocks[FRAME]);
    return ESP_OK;
}

void camera_backend_give(camera_backend_frame_t *frame)
{
    (void)frame;
}
