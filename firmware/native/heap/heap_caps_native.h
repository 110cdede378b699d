/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Interface between the native runtime and the heap in addition to esp_heap_caps.h: the system of heaps, the
 * implementation of malloc() and friends, and panics.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "esp_heap_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Sets the system that all functions of esp_heap_caps.h use; it must have HEAP_BACKING_TARGET and its
 * regions. Like a reset of the chip, clears the failed-allocation callback, the malloc limit and the minimum
 * monitoring.
 */
void heap_caps_native_init(heap_system_t *system);
heap_system_t *heap_caps_native_system(void);

/* Called when the chip would panic, for example on free() of an invalid pointer or on a damaged heap. Must
 * not return. Default: abort().
 *
 * found: the line "CORRUPT HEAP: …" that ESP-IDF prints first, or NULL
 * assertion: the failed assert in ESP-IDF's form, "function file:line (expression)"
 * note: details that the chip would not print, or NULL */
typedef void (*heap_caps_panic_t)(const char *found, const char *assertion, const char *note);
void heap_caps_native_set_panic(heap_caps_panic_t panic);

/* True inside heap_caps_walk's callback: on the chip, interrupts are off and printing panics. */
bool heap_caps_native_locked(void);

/* False if the 32-bit product would overflow on the chip. */
static inline bool heap_caps_native_multiply(size_t n, size_t size, size_t *product)
{
    return !__builtin_mul_overflow(n, size, product) && *product <= UINT32_MAX;
}

/* malloc(), calloc(), realloc(), aligned_alloc() of the firmware; free() is heap_caps_free(). */
void *heap_caps_malloc_default(size_t size);
void *heap_caps_calloc_default(size_t n, size_t size);
void *heap_caps_realloc_default(void *ptr, size_t size);
void *heap_caps_aligned_alloc_default(size_t alignment, size_t size);

#ifdef __cplusplus
}
#endif
