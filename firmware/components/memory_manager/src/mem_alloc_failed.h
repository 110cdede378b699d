/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Failed allocations: caught wherever they happen, reported later. Pure: no IDF header but esp_attr.h.
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
    const char *function; //!< A static name in flash (__func__ of the heap)
} mem_alloc_failed_t;

/**
 * Any task, at any time, also with the flash cache off: takes no lock, allocates nothing, writes nothing.
 * When all slots are in use it only counts: the first failures matter more than later ones that follow from
 * them.
 */
void mem_alloc_failed_put(const mem_alloc_failed_t *failed);

/**
 * Removes the oldest one; false if there is none. One task at a time. Adds the failures that were only
 * counted to *lost.
 */
bool mem_alloc_failed_take(mem_alloc_failed_t *out, uint32_t *lost);

size_t mem_alloc_failed_static_size(void);
