/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * esp32-camera on the AI-Thinker ESP32-CAM.
 */
#include "camera_backend.h"

#include "driver/gpio.h"
#include "esp_camera.h"
#include "esp_check.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

static const char *TAG = "CAMERA_ESP";

#define PIN_PWDN CONFIG_HOTPIN_CAMERA_PIN_PWDN
#define DRIVER_TASK "cam_task"

/* Wiring from AI-Thinker's schematic. PWDN is driven by this file, since the driver would pulse it for 10 ms
 * only. */
static const camera_config_t CONFIG = {
    .pin_pwdn = -1,
    .pin_reset = -1,
    .pin_xclk = 0,
    .pin_sccb_sda = 26,
    .pin_sccb_scl = 27,
    .pin_d7 = 35,
    .pin_d6 = 34,
    .pin_d5 = 39,
    .pin_d4 = 36,
    .pin_d3 = 21,
    .pin_d2 = 19,
    .pin_d1 = 18,
    .pin_d0 = 5,
    .pin_vsync = 25,
    .pin_href = 23,
    .pin_pclk = 22,
    .xclk_freq_hz = 20000000, /* OV2640: 6 to 24 MHz (datasheet 5, "Input clock frequency") */
    .ledc_timer = LEDC_TIMER_0,
    .ledc_channel = LEDC_CHANNEL_0,
    .pixel_format = PIXFORMAT_JPEG,
    .frame_size = FRAMESIZE_VGA,
    .jpeg_quality = CONFIG_HOTPIN_CAMERA_JPEG_QUALITY,
    .fb_count = 1,
    .fb_location = CAMERA_FB_IN_PSRAM,
    .grab_mode = CAMERA_GRAB_WHEN_EMPTY,
};

esp_err_t camera_backend_power_up(void)
{
    /* Without this pulse a sensor that was already used fails with "Detected camera not supported" (seen on
     * boards; 100 ms high and 100 ms low fixed it in 6 of 6 attempts). */
    const gpio_config_t line = {
        .pin_bit_mask = 1ULL << PIN_PWDN,
        .mode = GPIO_MODE_OUTPUT,
        .pull_up_en = GPIO_PULLUP_DISABLE,
        .pull_down_en = GPIO_PULLDOWN_DISABLE,
        .intr_type = GPIO_INTR_DISABLE,
    };
    ESP_RETURN_ON_ERROR(gpio_config(&line), TAG, "power-down line");
    ESP_RETURN_ON_ERROR(gpio_set_level(PIN_PWDN, 1), TAG, "power-down line");
    vTaskDelay(pdMS_TO_TICKS(CONFIG_HOTPIN_CAMERA_PWDN_MS));
    ESP_RETURN_ON_ERROR(gpio_set_level(PIN_PWDN, 0), TAG, "power-down line");
    vTaskDelay(pdMS_TO_TICKS(CONFIG_HOTPIN_CAMERA_PWDN_MS));
    return ESP_OK;
}

esp_err_t camera_backend_power_down(void)
{
    return gpio_set_level(PIN_PWDN, 1);
}

esp_err_t camera_backend_open(void)
{
    esp_err_t err = esp_camera_init(&CONFIG);
    if (err != ESP_OK) {
        /* The driver returns ESP_FAIL for a failed allocation, after it has freed its memory. */
        return err == ESP_FAIL ? ESP_ERR_NO_MEM : err;
    }
    /* The driver does not check whether its task was created. */
    if (xTaskGetHandle(DRIVER_TASK) == NULL) {
        ESP_LOGE(TAG, "no memory for the driver's task");
        esp_camera_deinit();
        return ESP_ERR_NO_MEM;
    }
    return ESP_OK;
}

void camera_backend_close(void)
{
    esp_err_t err = esp_camera_deinit();
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "driver: %s", esp_err_to_name(err));
    }
}

esp_err_t camera_backend_take(camera_backend_frame_t *frame)
{
    camera_fb_t *buffer = esp_camera_fb_get();
    if (buffer == NULL) {
        return ESP_ERR_TIMEOUT;
    }
    *frame = (camera_backend_frame_t){
        .data = buffer->buf,
        .len = buffer->len,
        .width = (uint32_t)buffer->width,
        .height = (uint32_t)buffer->height,
        .taken_us = (int64_t)buffer->timestamp.tv_sec * 1000000 + buffer->timestamp.tv_usec,
        .handle = buffer,
    };
    return ESP_OK;
}

void camera_backend_give(camera_backend_frame_t *frame)
{
    esp_camera_fb_return(frame->handle);
}
