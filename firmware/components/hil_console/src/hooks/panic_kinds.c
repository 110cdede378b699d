/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "panic_kinds.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "array_size.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_memory_utils.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

static const char *TAG = "HIL";

#define BLOCK_SIZE 64

/* Words below a function's frame to leave unchanged: the caller's registers are saved there (Xtensa: 16
 * bytes), and the backtrace needs them. */
#define KEPT_WORDS 32

/* Volatile, so that the compiler neither detects nor removes the undefined behaviour. */
static void *volatile s_address;

#define HEAP_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
#define IRAM_CAPS MALLOC_CAP_INTERNAL

static void crash_abort(void)
{
    abort();
}

static void crash_null(void)
{
    s_address = NULL;
    uint32_t value = *(volatile uint32_t *)s_address;
    (void)value;
}

static void crash_store(void)
{
    s_address = NULL;
    *(volatile uint32_t *)s_address = 1;
}

/**
 * Writes every word from below this frame to the end of the stack, and none beyond. So the watchpoint at the
 * end (32 bytes, somewhere in the last 64) always triggers, and no other task's memory is touched. A
 * recursion would skip words between its frames, possibly the words that the watchpoint covers.
 */
static void crash_stack(void)
{
    const uint32_t *end = (const uint32_t *)pxTaskGetStackStart(NULL);
    volatile uint32_t *word = (volatile uint32_t *)__builtin_frame_address(0) - KEPT_WORDS;
    while (word > end) {
        *--word = 0;
    }
    /* Without a watchpoint, FreeRTOS detects the overwritten end of the stack at the next task switch. */
    vTaskDelay(1);
}

static void crash_wdt(void)
{
    portDISABLE_INTERRUPTS();
    while (true) {
    }
}

/** Keeps this core's idle task from running, with interrupts on, so that the task watchdog triggers. */
static void crash_task_wdt(void)
{
    while (true) {
    }
}

static bool take_block(uint32_t caps)
{
    s_address = heap_caps_malloc(BLOCK_SIZE, caps);
    if (s_address == NULL) {
        ESP_LOGE(TAG, "no panic: no memory for its block of %d bytes", BLOCK_SIZE);
    }
    return s_address != NULL;
}

/** Frees a block twice: the second free finds it marked as free. */
static void crash_heap(void)
{
    if (take_block(HEAP_CAPS)) {
        heap_caps_free(s_address);
        heap_caps_free(s_address);
    }
}

/** Writes a byte to IRAM, which allows 32-bit accesses only. The same happens to a byte buffer that was
 * allocated without MALLOC_CAP_8BIT. */
static void crash_iram(void)
{
    if (!take_block(IRAM_CAPS)) {
        return;
    }
    *((volatile uint8_t *)s_address + 1) = 1;
    heap_caps_free(s_address);
    ESP_LOGE(TAG, "a byte store to IRAM raised no exception: this chip is emulated");
}

static const struct {
    const char *kind;
    void (*crash)(void);
    uint32_t caps; /* capabilities of the block that the panic needs; 0: none */
} KINDS[] = {
    {"abort", crash_abort, 0},       {"null", crash_null, 0},         {"store", crash_store, 0},
    {"stack", crash_stack, 0},       {"wdt", crash_wdt, 0},           {"task_wdt", crash_task_wdt, 0},
    {"heap", crash_heap, HEAP_CAPS}, {"iram", crash_iram, IRAM_CAPS},
};

/* Checks that the block can be allocated. Frees it again, because the panic may never happen. */
static esp_err_t check_block(uint32_t caps)
{
    void *block = heap_caps_malloc(BLOCK_SIZE, caps);
    if (block == NULL) {
        return ESP_ERR_NO_MEM;
    }
    bool good = caps != IRAM_CAPS || !esp_ptr_byte_accessible(block);
    heap_caps_free(block);
    return good ? ESP_OK : ESP_ERR_NOT_SUPPORTED;
}

esp_err_t panic_find(const char *kind, void (**crash)(void))
{
    for (size_t i = 0; i < ARRAY_SIZE(KINDS); i++) {
        if (strcmp(KINDS[i].kind, kind) == 0) {
            *crash = KINDS[i].crash;
            return KINDS[i].caps == 0 ? ESP_OK : check_block(KINDS[i].caps);
        }
    }
    return ESP_ERR_NOT_FOUND;
}
