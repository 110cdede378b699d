/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Failed allocations: stored in any context, reported later. Pure: no IDF header but esp_attr.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_ALLOC_FAILED_SLOTS 4

typedef struct {
    uint32_t time_ms;
    uint32_t size;
    uint32_t caps;
    const char *function; //!< Static string in flash (__func__ of the heap function)
} mem_alloc_failed_t;

/**
 * Stores a failure. May be called by any task in any context, even with the flash cache off: it neither
 * locks, allocates nor prints. If all slots are in use it only counts the failure, since the first failures
 * matter more than those they cause.
 */
void mem_alloc_failed_put(const mem_alloc_failed_t *failed);

/**
 * Removes the oldest failure; false if there is none. Adds the number of failures that were only counted to
 * *lost. One task at a time.
 */
bool mem_alloc_failed_take(mem_alloc_failed_t *out, uint32_t *lost);

size_t mem_alloc_failed_static_size(void);
