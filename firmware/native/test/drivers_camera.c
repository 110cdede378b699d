/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The camera controller on the modelled sensor and driver.
 */
#include "camera_controller.h"
#include "drivers_test.h"
#include "driver/gpio.h"
#include "esp_camera.h"
#include "esp_heap_caps.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

static void case_camera_memory(void)
{
    heaps_t first = heaps_now();
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    test_note("CAMERA first %d\n", (int)(first.internal_free - heaps_now().internal_free));
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
    heaps_t before = heaps_now();
    test_note("CAMERA kept %d\n", (int)(first.internal_free - before.internal_free));
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    heaps_t held = heaps_now();
    test_note("CAMERA internal %d\n", (int)(before.internal_free - held.internal_free));
    test_note("CAMERA psram %d\n", (int)(before.psram_free - held.psram_free));
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
    check_heaps("camera given back", before, heaps_now());
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(camera_controller_init(), ESP_OK);
        CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
        check_heaps("camera cycle", before, heaps_now());
    }
}

static void case_camera_capture(void)
{
    camera_frame_info_t frame = {.bytes = 77};
    CHECK_EQUAL(camera_controller_capture(&frame), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(camera_controller_deinit(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    CHECK_EQUAL(camera_controller_init(), ESP_ERR_INVALID_STATE);
    CHECK(camera_controller_is_initialized());
    CHECK_EQUAL(camera_controller_capture(NULL), ESP_ERR_INVALID_ARG);
    heaps_t before = heaps_now();
    for (int i = 0; i < 5; i++) {
        vTaskDelay(pdMS_TO_TICKS(i == 2 ? 3000 : 10)); // once, a frame is 3 s old and must be dropped
        int64_t start = esp_timer_get_time();
        CHECK_EQUAL(camera_controller_capture(&frame), ESP_OK);
        CHECK_EQUAL(frame.width, 640);
        CHECK_EQUAL(frame.height, 480);
        CHECK(frame.bytes > 10000 && frame.bytes < 61440);
        CHECK(frame.soi && frame.eoi);
        CHECK(frame.duration_ms >= 66 && frame.duration_ms <= 210);
        CHECK(elapsed_ms(start) >= frame.duration_ms);
    }
    check_heaps("captures", before, heaps_now());
    size_t count = 0;
    const size_t *blocks = camera_controller_blocks(&count);
    CHECK_EQUAL(count, 2);
    CHECK_EQUAL(blocks[0], 32768);
    CHECK_EQUAL(blocks[1], 4096);
    CHECK_EQUAL(camera_controller_frame_blocks(&count)[0], 61440 + 32);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
    CHECK(!camera_controller_is_initialized());
}

static void case_camera_failures(void)
{
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
    uint32_t nth = 0;
    bool failed;
    do {
        heaps_t before = heaps_now();
        fail_allocation(++nth);
        esp_err_t err = camera_controller_init();
        failed = allocation_failed();
        if (failed) {
            CHECK_EQUAL(err, ESP_ERR_NO_MEM);
            CHECK(!camera_controller_is_initialized());
        } else {
            CHECK_EQUAL(err, ESP_OK);
            CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
        }
        check_heaps("after the failure", before, heaps_now());
    } while (failed && nth < 200);
    test_note("CAMERA allocations %u\n", (unsigned)nth - 1);
}

/* Plenty of memory is free, but no block of 32,768 bytes. */
static void case_camera_no_block(void)
{
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
    take_blocks(MALLOC_CAP_DMA, 32768);
    CHECK(heap_caps_get_free_size(MALLOC_CAP_DMA) > 50000);
    heaps_t before = heaps_now();
    CHECK_EQUAL(camera_controller_init(), ESP_ERR_NO_MEM);
    check_heaps("refused", before, heaps_now());
    give_blocks();
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
}

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
    .xclk_freq_hz = 20000000,
    .pixel_format = PIXFORMAT_JPEG,
    .frame_size = FRAMESIZE_VGA,
    .fb_count = 1,
};

/* Pulses the power-down line: `ms` high, then `ms` low. */
static void pulse(uint32_t ms)
{
    const gpio_config_t line = {.pin_bit_mask = 1ULL << 32, .mode = GPIO_MODE_OUTPUT};
    gpio_config(&line);
    gpio_set_level(32, 1);
    vTaskDelay(pdMS_TO_TICKS(ms));
    gpio_set_level(32, 0);
    vTaskDelay(pdMS_TO_TICKS(ms));
}

/* The sensor answers only on the board's pins, and only if its clock is within the datasheet's range. */
static void case_camera_wiring(void)
{
    camera_config_t config = CONFIG;
    config.pin_d3 = 4;
    CHECK_EQUAL(esp_camera_init(&config), ESP_ERR_NOT_SUPPORTED);
    pulse(100);
    config = CONFIG;
    config.xclk_freq_hz = 2000000;
    CHECK_EQUAL(esp_camera_init(&config), ESP_ERR_NOT_SUPPORTED);
    pulse(100);
    CHECK_EQUAL(esp_camera_init(&CONFIG), ESP_OK);
    CHECK_EQUAL(esp_camera_deinit(), ESP_OK);
}

/* After a start and stop, the sensor is detected again only after a long enough pulse on its power-down
 * line. */
static void case_camera_pwdn(void)
{
    CHECK_EQUAL(esp_camera_init(&CONFIG), ESP_OK);
    CHECK_EQUAL(esp_camera_deinit(), ESP_OK);
    heaps_t before = heaps_now();
    CHECK_EQUAL(esp_camera_init(&CONFIG), ESP_ERR_NOT_SUPPORTED);
    check_heaps("not detected", before, heaps_now());
    pulse(10);
    CHECK_EQUAL(esp_camera_init(&CONFIG), ESP_ERR_NOT_SUPPORTED);
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    CHECK_EQUAL(gpio_get_level(32), 0);
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
    CHECK_EQUAL(gpio_get_level(32), 1);
    CHECK_EQUAL(gpio_config(&(gpio_config_t){.pin_bit_mask = 1ULL << 34, .mode = GPIO_MODE_OUTPUT}),
                ESP_ERR_INVALID_ARG);
}

const test_case_t g_camera_cases[] = {
    {"camera_memory", case_camera_memory},
    {"camera_capture", case_camera_capture},
    {"camera_failures", case_camera_failures},
    {"camera_no_block", case_camera_no_block},
    {"camera_pwdn", case_camera_pwdn},
    {"camera_wiring", case_camera_wiring},
    {NULL, NULL},
};
