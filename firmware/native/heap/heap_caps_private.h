/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Interface between the two files that implement esp_heap_caps.h. They are divided as in ESP-IDF, so that the
 * linker's --wrap of a function below applies to the same calls.
 */
#pragma once

#include <stdint.h>

#include "heap_caps_native.h"

/* Allocation without a report of failures, as declared in ESP-IDF's heap_private.h. */
void *heap_caps_malloc_base(size_t size, uint32_t caps);
void *heap_caps_aligned_alloc_base(size_t alignment, size_t size, uint32_t caps);
void *heap_caps_calloc_base(size_t n, size_t size, uint32_t caps);
void *heap_caps_realloc_base(void *ptr, size_t size, uint32_t caps);

void heap_base_init(heap_system_t *system);
/* Every function that changes the heap must call this first. */
heap_system_t *heap_begin(void);
/* Panics if the last call found damage. */
void heap_check_health(void);
/* While the heap is locked, heap_begin() panics. */
void heap_lock_for_walk(bool locked);

void heap_panic(const char *found, const char *assertion, const char *note) __attribute__((noreturn));
void heap_panic_about(uint32_t address, const char *assertion) __attribute__((noreturn));

static inline uint32_t heap_to_target(const void *ptr)
{
    uintptr_t address = (uintptr_t)ptr;
    return address > UINT32_MAX ? UINT32_MAX : (uint32_t)address; // a host address is in no heap
}

static inline void *heap_to_pointer(uint32_t address)
{
    return (void *)(uintptr_t)address;
}
