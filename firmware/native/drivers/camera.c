/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * esp32-camera with an OV2640 on the ESP32-CAM: the driver's heap usage, its task, and frames at the
 * sensor's rate in virtual time.
 *
 * Memory: the blocks that the driver's sources allocate (DMA buffer, descriptors, task, objects, queues,
 * frame buffer), and a remainder for the sensor's bus and state. The totals are the medians measured on
 * boards: 37,780 bytes internal, 62,816 bytes of PSRAM with one frame buffer. The first start also allocates
 * the GPIO interrupt service.
 *
 * A sensor that was stopped is detected again only after its power-down line was high, then low, for about
 * 100 ms each. On boards, detection failed 7 times; this pulse fixed it in 6 of 6 attempts.
 */
#include <inttypes.h>
#include <string.h>
#include "driver/gpio.h"
#include "drivers/gpio.h"
#include "drivers/intr.h"
#include "esp_camera.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "freertos/task.h"
#include "idf/faults.h"
#include "kernel/clock.h"
#include "kernel/object.h"
#include "sdkconfig.h"

static const char *TAG = "camera";
static const char *HAL_TAG = "cam_hal";

#define DMA_BUFFER_SIZE 32768
#define DMA_NODE_SIZE 2048
#define SIZE_DESCRIPTOR 12
#define SIZE_DRIVER 92
#define SIZE_SENSOR 32                        // chosen: internal RAM then totals the boards' median
static const size_t BUS_SIZES[] = {1280, 24}; // chosen: PSRAM then totals the boards' median
#define SIZE_FRAME 56
#define EVENTS 7
#define FRAMES_MAX 2

#define PWDN_PIN 32
#define PULSE_MIN_US 90000  // less than 100 ms, since a delay may be a tick shorter
#define SENSOR_START_MS 150 // time to write its registers over a bus of 100 kHz
#define FRAME_US 66667      // 15 frames per second: VGA JPEG with a clock of 20 MHz
#define FRAME_TIMEOUT_MS 4000

typedef struct {
    camera_fb_t fb;
    bool empty; // may be filled
} frame_t;

static struct {
    bool initialized;
    const camera_config_t *config;
    sensor_t sensor;
    void *driver;
    void *state;
    void *bus[2];
    void *records; // frame descriptors
    frame_t frames[FRAMES_MAX];
    void *dma_buffer;
    void *dma_nodes;
    QueueHandle_t events; // one item per frame that the sensor has sent
    QueueHandle_t filled; // indices of filled frames; the chip has pointers of the same size
    native_intr_t *intr;
    TaskHandle_t task;
    native_event_t vsync;
} s_camera;

static bool s_used; // the sensor has been started and stopped since power-on

/* --- Frames --- */

static const uint8_t FRAME_HEAD[] = {
    0xFF, 0xD8,                                                                                       // SOI
    0xFF, 0xE0, 0, 16, 'J', 'F',      'I',        'F',      0,          1, 1, 0,    0, 0, 0, 0, 0, 0, // APP0
    0xFF, 0xC0, 0, 11, 8,   480 >> 8, 480 & 0xFF, 640 >> 8, 640 & 0xFF, 1, 1, 0x22, 0,                // SOF0
    0xFF, 0xDA, 0, 8,  1,   1,        0,          0,        63,         0,                            // SOS
};

/* Writes head, noise without markers, and EOI. The length varies from frame to frame. */
static size_t draw(uint8_t *buffer, size_t size)
{
    static uint32_t s_noise = 1;
    s_noise = s_noise * 1664525u + 1013904223u;
    size_t end = size / 3 + (s_noise >> 16) % (size / 8);
    memcpy(buffer, FRAME_HEAD, sizeof FRAME_HEAD);
    for (size_t i = sizeof FRAME_HEAD; i < end; i++) {
        s_noise = s_noise * 1664525u + 1013904223u;
        buffer[i] = s_noise >> 24 == 0xFF ? 0 : s_noise >> 24;
    }
    buffer[end] = 0xFF;
    buffer[end + 1] = 0xD9;
    return end + 2;
}

static void vsync(native_event_t *event)
{
    uint32_t item = 0;
    native_event_arm(event, event->when_us + FRAME_US);
    xQueueSendFromISR(s_camera.events, &item, NULL);
}

static void cam_task(void *argument)
{
    (void)argument;
    while (true) {
        uint32_t item;
        xQueueReceive(s_camera.events, &item, portMAX_DELAY);
        for (uint32_t i = 0; i < s_camera.config->fb_count; i++) {
            frame_t *frame = &s_camera.frames[i];
            if (frame->empty) {
                int64_t start_us = esp_timer_get_time() - FRAME_US;
                frame->empty = false;
                frame->fb.len = draw(frame->fb.buf, 640 * 480 / 5);
                frame->fb.timestamp = (struct timeval){start_us / 1000000, start_us % 1000000};
                xQueueSend(s_camera.filled, &i, 0);
                break;
            }
        }
    }
}

/* --- Starting and stopping --- */

/* Allocates the objects in the driver's order and with its capabilities. */
static esp_err_t cam_init(void)
{
    s_camera.driver = heap_caps_calloc(1, SIZE_DRIVER, MALLOC_CAP_DMA);
    if (s_camera.driver == NULL) {
        ESP_LOGE(HAL_TAG, "%s(%d): lcd_cam object malloc error", __func__, __LINE__);
        return ESP_ERR_NO_MEM;
    }
    gpio_install_isr_service(0);
    ESP_LOGI(HAL_TAG, "cam init ok");
    return ESP_OK;
}

/* The ESP32-CAM's wiring, from AI-Thinker's schematic, and the OV2640's clock (datasheet 5). On a board a
 * wrong data line corrupts the pictures; in the model the sensor then does not answer. */
static bool is_wired(const camera_config_t *config)
{
    static const int WIRING[] = {-1, 0, 26, 27, 35, 34, 39, 36, 21, 19, 18, 5, 25, 23, 22};
    const int given[] = {
        config->pin_reset, config->pin_xclk, config->pin_sccb_sda, config->pin_sccb_scl, config->pin_d7,
        config->pin_d6,    config->pin_d5,   config->pin_d4,       config->pin_d3,       config->pin_d2,
        config->pin_d1,    config->pin_d0,   config->pin_vsync,    config->pin_href,     config->pin_pclk,
    };
    _Static_assert(sizeof given == sizeof WIRING, "the same pins");
    return memcmp(given, WIRING, sizeof WIRING) == 0 && config->xclk_freq_hz >= 6000000 &&
           config->xclk_freq_hz <= 24000000;
}

static bool sensor_answers(const camera_config_t *config)
{
    if (g_native_faults.no_sensor || !is_wired(config)) {
        return false;
    }
    if (g_native_faults.sensor_dead) {
        return !s_used && !g_native_faults.sensor_used; // the power-down line has no effect
    }
    return !s_used ||
           (native_gpio_high_us(PWDN_PIN) >= PULSE_MIN_US && native_gpio_low_us(PWDN_PIN) >= PULSE_MIN_US);
}

static esp_err_t camera_probe(const camera_config_t *config)
{
    s_camera.state = heap_caps_calloc(1, SIZE_SENSOR, NATIVE_KERNEL_CAPS);
    if (s_camera.state == NULL) {
        return ESP_ERR_NO_MEM;
    }
    for (size_t i = 0; i < 2; i++) {
        s_camera.bus[i] = heap_caps_calloc(1, BUS_SIZES[i], MALLOC_CAP_DEFAULT);
        if (s_camera.bus[i] == NULL) {
            ESP_LOGE(TAG, "sccb init err");
            return ESP_ERR_NO_MEM;
        }
    }
    vTaskDelay(pdMS_TO_TICKS(10));
    if (!sensor_answers(config)) {
        ESP_LOGE(TAG, "Detected camera not supported.");
        return ESP_ERR_NOT_SUPPORTED;
    }
    s_camera.sensor = (sensor_t){
        .id = {.MIDH = 0x7F, .MIDL = 0xA2, .PID = OV2640_PID, .VER = 0x42},
        .slv_addr = 0x30,
        .pixformat = config->pixel_format,
        .xclk_freq_hz = config->xclk_freq_hz,
    };
    ESP_LOGI(TAG, "Camera PID=0x26 VER=0x42 MIDL=0x7f MIDH=0xa2");
    ESP_LOGI(TAG, "Detected OV2640 camera");
    ESP_LOGI(TAG, "Detected camera at address=0x30");
    vTaskDelay(pdMS_TO_TICKS(SENSOR_START_MS));
    return ESP_OK;
}

static bool cam_dma_config(const camera_config_t *config)
{
    uint32_t frame_caps = MALLOC_CAP_8BIT | (config->fb_location == CAMERA_FB_IN_DRAM ? MALLOC_CAP_INTERNAL
                                                                                      : MALLOC_CAP_SPIRAM);
    size_t frame_size = 640 * 480 / 5;
    ESP_LOGI(HAL_TAG,
             "buffer_size: %d, half_buffer_size: %d, node_buffer_size: %d, node_cnt: %d, total_cnt: %d",
             DMA_BUFFER_SIZE, 2 * DMA_NODE_SIZE, DMA_NODE_SIZE, DMA_BUFFER_SIZE / DMA_NODE_SIZE,
             (int)(frame_size / (2 * DMA_NODE_SIZE)));
    s_camera.records = heap_caps_aligned_calloc(8, 1, config->fb_count * SIZE_FRAME, MALLOC_CAP_DEFAULT);
    if (s_camera.records == NULL) {
        ESP_LOGE(HAL_TAG, "%s(%d): frames malloc failed", __func__, __LINE__);
        return false;
    }
    for (size_t i = 0; i < config->fb_count; i++) {
        ESP_LOGI(HAL_TAG, "Allocating %d Byte frame buffer in %s", (int)frame_size,
                 frame_caps & MALLOC_CAP_SPIRAM ? "PSRAM" : "OnBoard RAM");
        s_camera.frames[i] = (frame_t){
            .fb = {.buf = heap_caps_aligned_alloc(16, frame_size, frame_caps),
                   .width = 640,
                   .height = 480,
                   .format = config->pixel_format},
            .empty = true,
        };
        if (s_camera.frames[i].fb.buf == NULL) {
            ESP_LOGE(HAL_TAG, "%s(%d): frame buffer malloc failed", __func__, __LINE__);
            return false;
        }
    }
    s_camera.dma_buffer = heap_caps_malloc(DMA_BUFFER_SIZE, MALLOC_CAP_DMA);
    if (s_camera.dma_buffer == NULL) {
        ESP_LOGE(HAL_TAG, "%s(%d): DMA buffer %d Byte malloc failed, the current largest free block:%d Byte",
                 __func__, __LINE__, DMA_BUFFER_SIZE, (int)heap_caps_get_largest_free_block(MALLOC_CAP_DMA));
        return false;
    }
    s_camera.dma_nodes = heap_caps_malloc(DMA_BUFFER_SIZE / DMA_NODE_SIZE * SIZE_DESCRIPTOR, MALLOC_CAP_DMA);
    if (s_camera.dma_nodes == NULL) {
        ESP_LOGE(HAL_TAG, "%s(%d): dma malloc failed", __func__, __LINE__);
        return false;
    }
    return true;
}

static esp_err_t cam_config(const camera_config_t *config)
{
    if (!cam_dma_config(config)) {
        ESP_LOGE(HAL_TAG, "%s(%d): cam_dma_config failed", __func__, __LINE__);
        return ESP_FAIL;
    }
    s_camera.events = xQueueCreate(EVENTS, sizeof(uint32_t));
    s_camera.filled = s_camera.events == NULL ? NULL : xQueueCreate(config->fb_count, sizeof(uint32_t));
    if (s_camera.filled == NULL) {
        ESP_LOGE(HAL_TAG, "%s(%d): event_queue create failed", __func__, __LINE__);
        return ESP_FAIL;
    }
    s_camera.intr = native_intr_alloc(NATIVE_INTR_NOT_SHARED);
    if (s_camera.intr == NULL) {
        ESP_LOGE(HAL_TAG, "%s(%d): cam intr alloc failed", __func__, __LINE__);
        return ESP_FAIL;
    }
    /* Like the driver, ignore it if the task cannot be created. */
    xTaskCreatePinnedToCore(cam_task, "cam_task", CONFIG_CAMERA_TASK_STACK_SIZE, NULL,
                            configMAX_PRIORITIES - 2, &s_camera.task, 0);
    ESP_LOGI(HAL_TAG, "cam config ok");
    return ESP_OK;
}

static void free_all(void)
{
    native_event_cancel(&s_camera.vsync);
    if (s_camera.task != NULL) {
        vTaskDelete(s_camera.task);
    }
    if (s_camera.events != NULL) {
        vQueueDelete(s_camera.events);
    }
    if (s_camera.filled != NULL) {
        vQueueDelete(s_camera.filled);
    }
    if (s_camera.intr != NULL) {
        native_intr_free(s_camera.intr);
    }
    heap_caps_free(s_camera.dma_nodes);
    heap_caps_free(s_camera.dma_buffer);
    for (size_t i = 0; i < FRAMES_MAX; i++) {
        heap_caps_free(s_camera.frames[i].fb.buf);
    }
    heap_caps_free(s_camera.records);
    heap_caps_free(s_camera.driver);
    heap_caps_free(s_camera.bus[1]);
    heap_caps_free(s_camera.bus[0]);
    heap_caps_free(s_camera.state);
    memset(&s_camera, 0, sizeof s_camera);
    s_used = true;
}

esp_err_t esp_camera_init(const camera_config_t *config)
{
    if (s_camera.initialized) {
        return ESP_ERR_INVALID_STATE;
    }
    if (config->pixel_format != PIXFORMAT_JPEG || config->frame_size != FRAMESIZE_VGA ||
        config->fb_count == 0 || config->fb_count > FRAMES_MAX) {
        ESP_LOGE(TAG, "the model supports VGA JPEG with 1 or %d frame buffers", FRAMES_MAX);
        return ESP_ERR_NOT_SUPPORTED;
    }
    s_camera.config = config;
    esp_err_t err = cam_init();
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "Camera init failed with error 0x%x", err);
        return err;
    }
    err = camera_probe(config);
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "Camera probe failed with error 0x%x(%s)", err, esp_err_to_name(err));
    } else {
        err = cam_config(config);
        if (err != ESP_OK) {
            ESP_LOGE(TAG, "Camera config failed with error 0x%x", err);
        }
    }
    if (err != ESP_OK) {
        free_all();
        return err;
    }
    s_camera.initialized = true;
    s_camera.vsync.fire = vsync;
    native_event_arm(&s_camera.vsync, native_now_us() + FRAME_US);
    return ESP_OK;
}

esp_err_t esp_camera_deinit(void)
{
    if (!s_camera.initialized) {
        return ESP_FAIL;
    }
    free_all();
    return ESP_OK;
}

camera_fb_t *esp_camera_fb_get(void)
{
    uint32_t index;
    if (!s_camera.initialized) {
        return NULL;
    }
    if (xQueueReceive(s_camera.filled, &index, pdMS_TO_TICKS(FRAME_TIMEOUT_MS)) != pdTRUE) {
        ESP_LOGW(HAL_TAG, "Failed to get frame: timeout");
        return NULL;
    }
    return &s_camera.frames[index].fb;
}

void esp_camera_fb_return(camera_fb_t *fb)
{
    for (size_t i = 0; i < FRAMES_MAX; i++) {
        if (fb == &s_camera.frames[i].fb) {
            s_camera.frames[i].empty = true;
        }
    }
}
