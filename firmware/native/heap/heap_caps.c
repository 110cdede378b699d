/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Implements ESP-IDF v5.4's esp_heap_caps.h on one system of heaps whose memory is at the chip's addresses.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "esp_heap_caps.h"
#include "heap_caps_native.h"

#define NO_EXTERNAL_MALLOC SIZE_MAX // malloc() limit until heap_caps_malloc_extmem_enable()

static heap_system_t *s_system;
static heap_caps_panic_t s_panic;
static esp_alloc_failed_hook_t s_alloc_failed;
static size_t s_internal_limit = NO_EXTERNAL_MALLOC;
static bool s_locked;

/* Minima from before the local-minimum monitoring. The block stands for ESP-IDF's array: it is allocated only
 * to charge its size. */
static struct {
    void *block;
    uint32_t heaps;
    uint32_t minima[HEAP_MAX_HEAPS];
} s_monitor;

/* --- Interface for the runtime --- */

void heap_caps_native_init(heap_system_t *system)
{
    s_system = system;
    s_alloc_failed = NULL;
    s_internal_limit = NO_EXTERNAL_MALLOC;
    s_locked = false;
    memset(&s_monitor, 0, sizeof(s_monitor));
}

heap_system_t *heap_caps_native_system(void)
{
    return s_system;
}

void heap_caps_native_set_panic(heap_caps_panic_t panic)
{
    s_panic = panic;
}

bool heap_caps_native_locked(void)
{
    return s_locked;
}

static void __attribute__((noreturn)) panic(const char *found, const char *assertion, const char *note)
{
    s_locked = false;
    if (s_panic != NULL) {
        s_panic(found, assertion, note);
    }
    fprintf(stderr, "%s\nassert failed: %s\n%s\n", found != NULL ? found : "", assertion,
            note != NULL ? note : "");
    abort();
}

/* Panics with the line and assert of ESP-IDF's light poisoning; the model detects the same damage. */
static void __attribute__((noreturn, format(printf, 1, 2))) panic_corrupt(const char *format, ...)
{
    char found[192] = "CORRUPT HEAP: ";
    size_t prefix = strlen(found);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found + prefix, sizeof(found) - prefix, format, arguments);
    va_end(arguments);
    panic(found, "multi_heap_free multi_heap_poisoning.c:279 (head != NULL)", NULL);
}

static void __attribute__((noreturn)) panic_about(uint32_t address, const char *assertion)
{
    char note[32];
    snprintf(note, sizeof(note), "the pointer is 0x%08" PRIx32, address);
    panic(NULL, assertion, note);
}

/* To be called first by each function that changes the heap. */
static heap_system_t *begin(void)
{
    if (s_system == NULL) {
        panic(NULL, "heap_caps heap_caps.c (heap_caps_native_init() was called)", NULL);
    }
    if (s_locked) {
        panic(NULL, "heap_caps_walk heap_caps.c (the heap is not changed by the walker)",
              "on the chip the heap is locked and interrupts are off in the walker's callback");
    }
    return s_system;
}

static void check_health(void)
{
    const char *fault = heap_system_fault(s_system);
    if (fault != NULL) {
        panic_corrupt("%s", fault);
    }
}

static uint32_t to_target(const void *ptr)
{
    uintptr_t address = (uintptr_t)ptr;
    return address > UINT32_MAX ? UINT32_MAX : (uint32_t)address; // a host address is in no heap
}

static void *to_pointer(uint32_t address)
{
    return (void *)(uintptr_t)address;
}

/* size_t is 64 bits on the host; a size that does not fit into 32 bits exceeds every heap. */
static uint32_t to_size(size_t size)
{
    return size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
}

/* --- Allocating, without reporting failure --- */

static void *malloc_base(size_t size, uint32_t caps)
{
    void *result = to_pointer(heap_system_malloc(begin(), to_size(size), caps));
    check_health();
    return result;
}

static void *aligned_alloc_base(size_t alignment, size_t size, uint32_t caps)
{
    void *result = to_pointer(heap_system_aligned_alloc(begin(), to_size(alignment), to_size(size), caps));
    check_health();
    return result;
}

static void *calloc_base(size_t n, size_t size, uint32_t caps)
{
    size_t bytes;
    if (!heap_caps_native_multiply(n, size, &bytes)) {
        return NULL;
    }
    void *result = malloc_base(bytes, caps);
    if (result != NULL) {
        memset(result, 0, bytes);
    }
    return result;
}

/* Panics with ESP-IDF's message unless a block in use starts at address. outside: the assert for an address
 * that is in no heap. */
static void require_block(uint32_t address, const char *outside)
{
    switch (heap_system_status(s_system, address)) {
    case HEAP_OK: break;
    case HEAP_OUTSIDE: panic_about(address, outside);
    case HEAP_ALREADY_FREE:
        panic_about(address,
                    "tlsf_free tlsf.c:629 (!block_is_free(block) && \"block already marked as free\")");
    case HEAP_DAMAGED: panic_corrupt("no intact block at 0x%08" PRIx32, address);
    }
}

static void free_base(void *ptr)
{
    heap_system_t *system = begin();
    require_block(to_target(ptr),
                  "heap_caps_free heap_caps_base.c:75 (heap != NULL && \"free() target pointer is "
                  "outside heap areas\")");
    heap_system_free(system, to_target(ptr));
    check_health();
}

static void *realloc_base(void *ptr, size_t size, uint32_t caps)
{
    heap_system_t *system = begin();
    if (ptr != NULL) {
        require_block(to_target(ptr),
                      "heap_caps_realloc_base heap_caps_base.c:227 (heap != NULL && \"realloc() "
                      "pointer is outside heap areas\")");
    }
    void *result = to_pointer(heap_system_realloc(system, to_target(ptr), to_size(size), caps));
    check_health();
    return result;
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
    return report_if_failed(malloc_base(size, caps), size, caps, __func__);
}

void *heap_caps_calloc(size_t n, size_t size, uint32_t caps)
{
    void *result = calloc_base(n, size, caps);
    if (result == NULL && size > 0 && s_alloc_failed != NULL) {
        s_alloc_failed((uint32_t)(n * size), caps, __func__); // as in ESP-IDF: also for n = 0, and truncated
    }
    return result;
}

void *heap_caps_realloc(void *ptr, size_t size, uint32_t caps)
{
    return report_if_failed(realloc_base(ptr, size, caps), size, caps, __func__);
}

void heap_caps_free(void *ptr)
{
    if (ptr != NULL) {
        free_base(ptr);
    }
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
    return report_if_failed(aligned_alloc_base(alignment, size, caps), size, caps, __func__);
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
    void *result = malloc_base(size, default_caps(size));
    if (result == NULL && size > 0) {
        result = malloc_base(size, MALLOC_CAP_DEFAULT);
    }
    return report_if_failed(result, size, MALLOC_CAP_DEFAULT, __func__);
}

void *heap_caps_realloc_default(void *ptr, size_t size)
{
    if (s_internal_limit == NO_EXTERNAL_MALLOC) {
        return heap_caps_realloc(ptr, size, default_caps(size));
    }
    void *result = realloc_base(ptr, size, default_caps(size));
    if (result == NULL && size > 0) {
        result = realloc_base(ptr, size, MALLOC_CAP_DEFAULT);
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
    void *result = aligned_alloc_base(alignment, size, default_caps(size));
    if (result == NULL && size > 0) {
        result = aligned_alloc_base(alignment, size, MALLOC_CAP_DEFAULT);
    }
    return report_if_failed(result, size, MALLOC_CAP_DEFAULT, __func__);
}

/* --- API: queries --- */

void heap_caps_get_info(multi_heap_info_t *info, uint32_t caps)
{
    heap_figures_t figures;
    heap_system_figures(s_system, caps, &figures);
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
    return heap_system_total_size(s_system, caps);
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
    uint32_t address = to_target(ptr);
    uint32_t size = heap_system_allocated_size(s_system, address);
    if (size == 0) {
        panic_about(address, "heap_caps_get_allocated_size heap_caps.c:466 (heap)");
    }
    return size;
}

esp_err_t heap_caps_monitor_local_minimum_free_size_start(void)
{
    if (s_monitor.block == NULL) {
        s_monitor.heaps = heap_system_count(begin());
        s_monitor.block = heap_caps_malloc(s_monitor.heaps * sizeof(uint32_t), MALLOC_CAP_DEFAULT);
        if (s_monitor.block == NULL) {
            panic(NULL,
                  "heap_caps_monitor_local_minimum_free_size_start heap_caps.c:325 "
                  "(min_free_bytes_monitoring.values != NULL && \"not enough memory to store min_free_bytes "
                  "value\")",
                  NULL);
        }
        memset(s_monitor.minima, 0xFF, sizeof(s_monitor.minima));
    }
    for (uint32_t i = 0; i < s_monitor.heaps; i++) {
        uint32_t old = heap_system_reset_minimum(s_system, i);
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
        heap_system_lower_minimum(s_system, i, s_monitor.minima[i]);
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
        .ptr = to_pointer(block->address), .size = block->size, .used = block->used};
    return walk->callback(heap_info, block_info, walk->user_data);
}

void heap_caps_walk(uint32_t caps, heap_caps_walker_cb_t walker_func, void *user_data)
{
    if (walker_func == NULL) {
        panic(NULL, "heap_caps_walk heap_caps.c:589 (walker_func != NULL)", NULL);
    }
    walk_t walk = {.callback = walker_func, .user_data = user_data};
    heap_system_t *system = begin();
    s_locked = true;
    heap_system_walk(system, caps, call_walker, &walk);
    s_locked = false;
    check_health();
}

void heap_caps_walk_all(heap_caps_walker_cb_t walker_func, void *user_data)
{
    heap_caps_walk(MALLOC_CAP_INVALID, walker_func, user_data);
}
