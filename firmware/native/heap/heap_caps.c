/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The functions of ESP-IDF v5.4's heap_caps.c: allocating with a report of failure, malloc(), queries, the
 * walk.
 */
#include <string.h>

#include "esp_heap_caps.h"
#include "heap_caps_private.h"

#define NO_EXTERNAL_MALLOC SIZE_MAX // malloc() limit until heap_caps_malloc_extmem_enable()

static esp_alloc_failed_hook_t s_alloc_failed;
static size_t s_internal_limit = NO_EXTERNAL_MALLOC;

/* Minima from before the monitoring of local minima was started. The block represents ESP-IDF's array: it is
 * allocated only to charge its size. */
static struct {
    void *block;
    uint32_t heaps;
    uint32_t minima[HEAP_MAX_HEAPS];
} s_monitor;

/* --- Interface for the runtime --- */

void heap_caps_native_init(heap_system_t *system)
{
    heap_base_init(system);
    s_alloc_failed = NULL;
    s_internal_limit = NO_EXTERNAL_MALLOC;
    memset(&s_monitor, 0, sizeof(s_monitor));
}

/* --- Reporting failure --- */

esp_err_t heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback)
{
    if (callback == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    s_alloc_failed = callback;
    return ESP_OK;
}

static void *report_if_failed(void *result, size_t size, uint32_t caps, const char *function)
{
    if (result == NULL && size > 0 && s_alloc_failed != NULL) {
        s_alloc_failed(size, caps, function);
    }
    return result;
}

/* --- API: allocating --- */

void *heap_caps_malloc(size_t size, uint32_t caps)
{
    return report_if_failed(heap_caps_malloc_base(size, caps), size, caps, __func__);
}

void *heap_caps_calloc(size_t n, size_t size, uint32_t caps)
{
    void *result = heap_caps_calloc_base(n, size, caps);
    if (result == NULL && size > 0 && s_alloc_failed != NULL) {
        s_alloc_failed((uint32_t)(n * size), caps, __func__); // as in ESP-IDF: even for n = 0, and truncated
    }
    return result;
}

void *heap_caps_realloc(void *ptr, size_t size, uint32_t caps)
{
    return report_if_failed(heap_caps_realloc_base(ptr, size, caps), size, caps, __func__);
}

static bool alignment_is_valid(size_t alignment)
{
    return alignment != 0 && (alignment & (alignment - 1)) == 0;
}

void *heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps)
{
    if (!alignment_is_valid(alignment)) {
        return NULL; // not reported, as in ESP-IDF
    }
    return report_if_failed(heap_caps_aligned_alloc_base(alignment, size, caps), size, caps, __func__);
}

void heap_caps_aligned_free(void *ptr)
{
    heap_caps_free(ptr);
}

void *heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps)
{
    size_t bytes;
    if (!heap_caps_native_multiply(n, size, &bytes)) {
        return NULL;
    }
    void *result = heap_caps_aligned_alloc(alignment, bytes, caps);
    if (result != NULL) {
        memset(result, 0, bytes);
    }
    return result;
}

/* --- API: malloc() and friends --- */

void heap_caps_malloc_extmem_enable(size_t limit)
{
    s_internal_limit = limit;
}

static uint32_t default_caps(size_t size)
{
    return MALLOC_CAP_DEFAULT | (size <= s_internal_limit ? MALLOC_CAP_INTERNAL : MALLOC_CAP_SPIRAM);
}

/* Unless external memory is enabled, malloc() calls heap_caps_malloc(), and failures are reported with that
 * name. */
void *heap_caps_malloc_default(size_t size)
{
    if (s_internal_limit == NO_EXTERNAL_MALLOC) {
        return heap_caps_malloc(size, default_caps(size));
    }
    void *result = heap_caps_malloc_base(size, default_caps(size));
    if (result == NULL && size > 0) {
        result = heap_caps_malloc_base(size, MALLOC_CAP_DEFAULT);
    }
    return report_if_failed(result, size, MALLOC_CAP_DEFAULT, __func__);
}

void *heap_caps_realloc_default(void *ptr, size_t size)
{
    if (s_internal_limit == NO_EXTERNAL_MALLOC) {
        return heap_caps_realloc(ptr, size, default_caps(size));
    }
    void *result = heap_caps_realloc_base(ptr, size, default_caps(size));
    if (result == NULL && size > 0) {
        result = heap_caps_realloc_base(ptr, size, MALLOC_CAP_DEFAULT);
    }
    return report_if_failed(result, size, MALLOC_CAP_DEFAULT, __func__);
}

void *heap_caps_aligned_alloc_default(size_t alignment, size_t size)
{
    if (s_internal_limit == NO_EXTERNAL_MALLOC) {
        return heap_caps_aligned_alloc(alignment, size, default_caps(size));
    }
    if (!alignment_is_valid(alignment)) {
        return NULL;
    }
    void *result = heap_caps_aligned_alloc_base(alignment, size, default_caps(size));
    if (result == NULL && size > 0) {
        result = heap_caps_aligned_alloc_base(alignment, size, MALLOC_CAP_DEFAULT);
    }
    return report_if_failed(result, size, MALLOC_CAP_DEFAULT, __func__);
}

/* --- API: queries --- */

void heap_caps_get_info(multi_heap_info_t *info, uint32_t caps)
{
    heap_figures_t figures;
    heap_system_figures(heap_caps_native_system(), caps, &figures);
    *info = (multi_heap_info_t){
        .total_free_bytes = figures.free_bytes,
        .total_allocated_bytes = figures.allocated_bytes,
        .largest_free_block = figures.largest_free_block,
        .minimum_free_bytes = figures.minimum_free_bytes,
        .allocated_blocks = figures.allocated_blocks,
        .free_blocks = figures.free_blocks,
        .total_blocks = figures.total_blocks,
    };
}

size_t heap_caps_get_total_size(uint32_t caps)
{
    return heap_system_total_size(heap_caps_native_system(), caps);
}

size_t heap_caps_get_free_size(uint32_t caps)
{
    multi_heap_info_t info;
    heap_caps_get_info(&info, caps);
    return info.total_free_bytes;
}

size_t heap_caps_get_minimum_free_size(uint32_t caps)
{
    multi_heap_info_t info;
    heap_caps_get_info(&info, caps);
    return info.minimum_free_bytes;
}

size_t heap_caps_get_largest_free_block(uint32_t caps)
{
    multi_heap_info_t info;
    heap_caps_get_info(&info, caps);
    return info.largest_free_block;
}

size_t heap_caps_get_allocated_size(void *ptr)
{
    uint32_t address = heap_to_target(ptr);
    uint32_t size = heap_system_allocated_size(heap_caps_native_system(), address);
    if (size == 0) {
        heap_panic_about(address, "heap_caps_get_allocated_size heap_caps.c:466 (heap)");
    }
    return size;
}

esp_err_t heap_caps_monitor_local_minimum_free_size_start(void)
{
    if (s_monitor.block == NULL) {
        s_monitor.heaps = heap_system_count(heap_begin());
        s_monitor.block = heap_caps_malloc(s_monitor.heaps * sizeof(uint32_t), MALLOC_CAP_DEFAULT);
        if (s_monitor.block == NULL) {
            heap_panic(
                NULL,
                "heap_caps_monitor_local_minimum_free_size_start heap_caps.c:325 "
                "(min_free_bytes_monitoring.values != NULL && \"not enough memory to store min_free_bytes "
                "value\")",
                NULL);
        }
        memset(s_monitor.minima, 0xFF, sizeof(s_monitor.minima));
    }
    for (uint32_t i = 0; i < s_monitor.heaps; i++) {
        uint32_t old = heap_system_reset_minimum(heap_caps_native_system(), i);
        if (old < s_monitor.minima[i]) {
            s_monitor.minima[i] = old;
        }
    }
    return ESP_OK;
}

esp_err_t heap_caps_monitor_local_minimum_free_size_stop(void)
{
    if (s_monitor.block == NULL) {
        return ESP_FAIL;
    }
    for (uint32_t i = 0; i < s_monitor.heaps; i++) {
        heap_system_lower_minimum(heap_caps_native_system(), i, s_monitor.minima[i]);
    }
    heap_caps_free(s_monitor.block);
    s_monitor.block = NULL;
    return ESP_OK;
}

/* --- API: walking the blocks --- */

typedef struct {
    heap_caps_walker_cb_t callback;
    void *user_data;
} walk_t;

static bool call_walker(const heap_block_t *block, void *context)
{
    const walk_t *walk = context;
    walker_heap_into_t heap_info = {.start = (intptr_t)block->heap_start, .end = (intptr_t)block->heap_end};
    walker_block_info_t block_info = {
        .ptr = heap_to_pointer(block->address), .size = block->size, .used = block->used};
    return walk->callback(heap_info, block_info, walk->user_data);
}

void heap_caps_walk(uint32_t caps, heap_caps_walker_cb_t walker_func, void *user_data)
{
    if (walker_func == NULL) {
        heap_panic(NULL, "heap_caps_walk heap_caps.c:589 (walker_func != NULL)", NULL);
    }
    walk_t walk = {.callback = walker_func, .user_data = user_data};
    heap_system_t *system = heap_begin();
    heap_lock_for_walk(true);
    heap_system_walk(system, caps, call_walker, &walk);
    heap_lock_for_walk(false);
    heap_check_health();
}

void heap_caps_walk_all(heap_caps_walker_cb_t walker_func, void *user_data)
{
    heap_caps_walk(MALLOC_CAP_INVALID, walker_func, user_data);
}
