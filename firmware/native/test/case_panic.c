/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Panics, resets and hangs.
 */
#include <stdlib.h>
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "esp_system.h"
#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "runtime_test.h"

static volatile int s_sink = 3;
static int *volatile s_null;

static void case_null_load(void)
{
    s_sink = s_null[1];
}

static void case_null_store(void)
{
    *s_null = 1;
}

static void (*volatile s_null_function)(void);

static void case_null_call(void)
{
    s_null_function();
}

static void case_illegal(void)
{
    __builtin_trap();
}

static void case_abort(void)
{
    abort();
}

static void case_assert(void)
{
    assert(s_sink == 77);
}

static void case_error_check(void)
{
    ESP_ERROR_CHECK(ESP_ERR_NO_MEM);
}

static void __attribute__((noinline)) recurse(int depth)
{
    volatile char frame[512];
    frame[0] = (char)depth;
    if (s_sink != 77) {
        recurse(depth + 1);
    }
    s_sink += frame[0];
}

static void overflow(void *unused)
{
    (void)unused;
    recurse(0);
}

static void case_stack(void)
{
    xTaskCreate(overflow, "deep", 2048, NULL, 5, NULL);
    vTaskDelay(10);
}

static void case_endless(void)
{
    while (s_sink != 77) {
    }
}

static portMUX_TYPE s_mux = portMUX_INITIALIZER_UNLOCKED;

static void case_endless_masked(void)
{
    portENTER_CRITICAL(&s_mux);
    while (s_sink != 77) {
    }
}

/* Busy, but reads the clock: virtual time advances, and the watchdog triggers in virtual time. */
static void case_busy(void)
{
    while (s_sink != 77) {
        esp_rom_delay_us(1000);
    }
}

static void case_busy_masked(void)
{
    portENTER_CRITICAL(&s_mux);
    esp_rom_delay_us(3000000);
}

static void case_unfed_task(void)
{
    CHECK_EQUAL(esp_task_wdt_add(NULL), ESP_OK);
    CHECK_EQUAL(esp_task_wdt_add(NULL), ESP_ERR_INVALID_ARG);
    for (int i = 0; i < 20; i++) {
        vTaskDelay(pdMS_TO_TICKS(1000));
        esp_task_wdt_reset();
    }
    printf("fed for 20 s\n");
    vTaskDelay(pdMS_TO_TICKS(10000));
}

static void case_restart(void)
{
    printf("restarting\n");
    esp_restart();
}

static void case_stale_handle(void)
{
    SemaphoreHandle_t mutex = xSemaphoreCreateMutex();
    vSemaphoreDelete(mutex);
    xSemaphoreTake(mutex, 0);
}

static void case_heap_damage(void)
{
    char *block = malloc(64);
    volatile char *p = block;
    for (int i = 0; i < 96; i++) {
        p[i] = (char)0xA5;
    }
    free(block);
    free(malloc(64));
    printf("survived\n");
}

static void return_at_once(void *unused)
{
    (void)unused;
}

static void case_task_returns(void)
{
    xTaskCreate(return_at_once, "returner", 2048, NULL, 5, NULL);
}

/* No other task prints, so the lock is free, but newlib still aborts. */
static void case_print_masked(void)
{
    printf("out of it\n");
    portENTER_CRITICAL(&s_mux);
    printf("in it\n");
    portEXIT_CRITICAL(&s_mux);
}

static bool print_block(walker_heap_into_t heap, walker_block_info_t block, void *unused)
{
    (void)heap;
    (void)unused;
    printf("%u\n", (unsigned)block.size);
    return true;
}

static void case_print_in_walk(void)
{
    heap_caps_walk(MALLOC_CAP_SPIRAM, print_block, NULL);
}

static void take_and_wait(void *mutex)
{
    xSemaphoreTake(mutex, portMAX_DELAY);
    vTaskDelay(portMAX_DELAY);
}

static void case_delete_holder(void)
{
    TaskHandle_t holder;
    xTaskCreate(take_and_wait, "holder", 2048, xSemaphoreCreateMutex(), 5, &holder);
    vTaskDelete(holder);
}

const test_case_t g_panic_cases[] = {
    {"null_load", case_null_load},
    {"null_store", case_null_store},
    {"null_call", case_null_call},
    {"illegal", case_illegal},
    {"abort", case_abort},
    {"assert", case_assert},
    {"error_check", case_error_check},
    {"stack", case_stack},
    {"endless", case_endless},
    {"endless_masked", case_endless_masked},
    {"busy", case_busy},
    {"busy_masked", case_busy_masked},
    {"unfed_task", case_unfed_task},
    {"restart", case_restart},
    {"stale_handle", case_stale_handle},
    {"heap_damage", case_heap_damage},
    {"task_returns", case_task_returns},
    {"print_masked", case_print_masked},
    {"print_in_walk", case_print_in_walk},
    {"delete_holder", case_delete_holder},
    {NULL, NULL},
};
