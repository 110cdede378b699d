/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The wrappers run wherever the heap runs: in any task, on either core, before the scheduler starts, with the
 * flash cache off. So they are in IRAM, their state is in DRAM, and they neither allocate nor log.
 */
#include "heap_fail.h"

#include "esp_attr.h"
#include "esp_err.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

void *__real_heap_caps_malloc(size_t size, uint32_t caps);
void *__real_heap_caps_calloc(size_t n, size_t size, uint32_t caps);
void *__real_heap_caps_realloc(void *ptr, size_t size, uint32_t caps);
void *__real_heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps);
void *__real_heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps);
void *__real_heap_caps_malloc_default(size_t size);
void *__real_heap_caps_realloc_default(void *ptr, size_t size);
esp_err_t __real_heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback);

void *__wrap_heap_caps_malloc(size_t size, uint32_t caps);
void *__wrap_heap_caps_calloc(size_t n, size_t size, uint32_t caps);
void *__wrap_heap_caps_realloc(void *ptr, size_t size, uint32_t caps);
void *__wrap_heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps);
void *__wrap_heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps);
void *__wrap_heap_caps_malloc_default(size_t size);
void *__wrap_heap_caps_realloc_default(void *ptr, size_t size);
esp_err_t __wrap_heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback);

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static heap_fail_state_t s_state;
static uint32_t s_caps;
static uint32_t s_first;
static uint32_t s_count;
static uint32_t s_also;

/* The application's failed-allocation callback. report_failure() is registered with ESP-IDF in its place. */
static esp_alloc_failed_hook_t s_callback;

/* The task that is inside heap_fail_quiet_malloc(), which only the console task calls; or NULL. */
static TaskHandle_t volatile s_quiet_task;

static IRAM_ATTR void report_failure(size_t size, uint32_t caps, const char *function)
{
    bool quiet = s_quiet_task != NULL && s_quiet_task == xTaskGetCurrentTaskHandle();
    if (!quiet && s_callback != NULL) {
        s_callback(size, caps, function);
    }
}

static IRAM_ATTR bool must_fail(size_t size, uint32_t caps, const char *function)
{
    if (!s_state.armed) {
        return false;
    }
    portENTER_CRITICAL_SAFE(&s_lock);
    bool fails = false;
    if (s_state.armed && size > 0 && (caps & s_caps) == s_caps) {
        s_state.seen++;
        fails = (s_state.seen >= s_first && s_state.seen - s_first < s_count) || s_state.seen == s_also;
        s_state.failed += fails;
    }
    portEXIT_CRITICAL_SAFE(&s_lock);
    if (fails) {
        report_failure(size, caps, function);
    }
    return fails;
}

IRAM_ATTR void *__wrap_heap_caps_malloc(size_t size, uint32_t caps)
{
    static DRAM_ATTR const char NAME[] = "heap_caps_malloc";
    return must_fail(size, caps, NAME) ? NULL : __real_heap_caps_malloc(size, caps);
}

IRAM_ATTR void *__wrap_heap_caps_calloc(size_t n, size_t size, uint32_t caps)
{
    static DRAM_ATTR const char NAME[] = "heap_caps_calloc";
    return must_fail(n * size, caps, NAME) ? NULL : __real_heap_caps_calloc(n, size, caps);
}

IRAM_ATTR void *__wrap_heap_caps_realloc(void *ptr, size_t size, uint32_t caps)
{
    static DRAM_ATTR const char NAME[] = "heap_caps_realloc";
    return must_fail(size, caps, NAME) ? NULL : __real_heap_caps_realloc(ptr, size, caps);
}

IRAM_ATTR void *__wrap_heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps)
{
    static DRAM_ATTR const char NAME[] = "heap_caps_aligned_alloc";
    return must_fail(size, caps, NAME) ? NULL : __real_heap_caps_aligned_alloc(alignment, size, caps);
}

IRAM_ATTR void *__wrap_heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps)
{
    static DRAM_ATTR const char NAME[] = "heap_caps_aligned_calloc";
    return must_fail(n * size, caps, NAME) ? NULL : __real_heap_caps_aligned_calloc(alignment, n, size, caps);
}

IRAM_ATTR void *__wrap_heap_caps_malloc_default(size_t size)
{
    static DRAM_ATTR const char NAME[] = "heap_caps_malloc_default";
    return must_fail(size, MALLOC_CAP_DEFAULT, NAME) ? NULL : __real_heap_caps_malloc_default(size);
}

IRAM_ATTR void *__wrap_heap_caps_realloc_default(void *ptr, size_t size)
{
    static DRAM_ATTR const char NAME[] = "heap_caps_realloc_default";
    return must_fail(size, MALLOC_CAP_DEFAULT, NAME) ? NULL : __real_heap_caps_realloc_default(ptr, size);
}

esp_err_t __wrap_heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback)
{
    esp_err_t err = __real_heap_caps_register_failed_alloc_callback(callback != NULL ? report_failure : NULL);
    if (err == ESP_OK) {
        s_callback = callback;
    }
    return err;
}

void heap_fail_arm(uint32_t caps, uint32_t nth, uint32_t count, uint32_t also)
{
    portENTER_CRITICAL(&s_lock);
    s_caps = caps;
    s_first = nth;
    s_count = count;
    s_also = also;
    s_state = (heap_fail_state_t){.armed = true};
    portEXIT_CRITICAL(&s_lock);
}

void heap_fail_disarm(void)
{
    portENTER_CRITICAL(&s_lock);
    s_state.armed = false;
    portEXIT_CRITICAL(&s_lock);
}

heap_fail_state_t heap_fail_get_state(void)
{
    portENTER_CRITICAL(&s_lock);
    heap_fail_state_t state = s_state;
    portEXIT_CRITICAL(&s_lock);
    return state;
}

void *heap_fail_quiet_malloc(size_t size, uint32_t caps)
{
    s_quiet_task = xTaskGetCurrentTaskHandle();
    void *block = __real_heap_caps_malloc(size, caps);
    s_quiet_task = NULL;
    return block;
}
