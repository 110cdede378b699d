/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF v5.4's esp_heap_caps.h: the same names, signatures and capability bits, implemented
 * by the exact model of the ESP32's heap (heap/esp_heap_model.h). Comments mention differences from the chip.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"
#include "multi_heap.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MALLOC_CAP_EXEC (1 << 0)  //!< Can run code
#define MALLOC_CAP_32BIT (1 << 1) //!< Allows aligned 32-bit accesses
#define MALLOC_CAP_8BIT (1 << 2)  //!< Allows accesses of any width
#define MALLOC_CAP_DMA (1 << 3)   //!< Accessible by DMA
#define MALLOC_CAP_PID2 (1 << 4)  //!< PIDs are unused
#define MALLOC_CAP_PID3 (1 << 5)
#define MALLOC_CAP_PID4 (1 << 6)
#define MALLOC_CAP_PID5 (1 << 7)
#define MALLOC_CAP_PID6 (1 << 8)
#define MALLOC_CAP_PID7 (1 << 9)
#define MALLOC_CAP_SPIRAM (1 << 10)   //!< External RAM
#define MALLOC_CAP_INTERNAL (1 << 11) //!< Accessible with the cache off
#define MALLOC_CAP_DEFAULT (1 << 12)  //!< Memory that malloc() may return
#define MALLOC_CAP_IRAM_8BIT (1 << 13)
#define MALLOC_CAP_RETENTION (1 << 14)
#define MALLOC_CAP_RTCRAM (1 << 15)
#define MALLOC_CAP_SPM (1 << 16)
#define MALLOC_CAP_DMA_DESC_AHB (1 << 17)
#define MALLOC_CAP_DMA_DESC_AXI (1 << 18)
#define MALLOC_CAP_CACHE_ALIGNED (1 << 19)
#define MALLOC_CAP_SIMD (1 << 20)
/* No memory has this capability. Functions that walk or check heaps take it as "every heap". In ESP-IDF its
 * type is int. */
#define MALLOC_CAP_INVALID (1U << 31)

/* Called if an allocation fails, with its size, its capabilities and the name of the ESP-IDF function. */
typedef void (*esp_alloc_failed_hook_t)(size_t size, uint32_t caps, const char *function_name);

/* There is one slot: a second registration replaces the first. ESP_ERR_INVALID_ARG: callback is NULL. */
esp_err_t heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback);

void *heap_caps_malloc(size_t size, uint32_t caps);
void heap_caps_free(void *ptr);
void *heap_caps_realloc(void *ptr, size_t size, uint32_t caps);
void *heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps);
void __attribute__((deprecated)) heap_caps_aligned_free(void *ptr);
void *heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps);
void *heap_caps_calloc(size_t n, size_t size, uint32_t caps);

/* Afterwards malloc() tries internal memory first up to this size, and external memory first above it. */
void heap_caps_malloc_extmem_enable(size_t limit);

size_t heap_caps_get_total_size(uint32_t caps);
size_t heap_caps_get_free_size(uint32_t caps);
size_t heap_caps_get_minimum_free_size(uint32_t caps);
size_t heap_caps_get_largest_free_block(uint32_t caps);
void heap_caps_get_info(multi_heap_info_t *info, uint32_t caps);
size_t heap_caps_get_allocated_size(void *ptr);

/*
 * start resets the minima; the first start allocates 4 bytes per heap with MALLOC_CAP_DEFAULT. A start while
 * monitoring is running resets them again and returns ESP_OK. stop restores the lower of the old and the
 * new minima, or returns ESP_FAIL if monitoring is not running.
 */
esp_err_t heap_caps_monitor_local_minimum_free_size_start(void);
esp_err_t heap_caps_monitor_local_minimum_free_size_stop(void);

typedef struct walker_heap_info {
    intptr_t start;   //!< First address of the heap that contains the block
    intptr_t end;     //!< Address after the last byte of that heap
} walker_heap_into_t; // sic, as in ESP-IDF

typedef struct walker_block_info {
    void *ptr;   //!< Start of the block's data
    size_t size; //!< Size of the block without its header, bytes
    bool used;
} walker_block_info_t;

/*
 * Returning false skips to the next heap. On the chip the heap is locked and interrupts are off during
 * the callback, so it panics if it prints or allocates. On the host it panics if it allocates or frees.
 */
typedef bool (*heap_caps_walker_cb_t)(walker_heap_into_t heap_info, walker_block_info_t block_info,
                                      void *user_data);

void heap_caps_walk(uint32_t caps, heap_caps_walker_cb_t walker_func, void *user_data);
void heap_caps_walk_all(heap_caps_walker_cb_t walker_func, void *user_data);

#ifdef __cplusplus
}
#endif
