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
    const char *function; //!< A name that lives for ever (__func__ of the heap), in flash
} mem_alloc_failed_t;

/**
 * Any task, at any time, with the flash cache off too: takes no lock, allocates nothing, writes nothing. When
 * all slots wait to be read it only counts: the first failures say more than those that follow from them.
 */
void mem_alloc_failed_put(const mem_alloc_failed_t *failed);

/**
 * Takes the oldest one out; false if there is none. One task at a time. Adds those only counted so far to
 * *lost.
 */
bool mem_alloc_failed_take(mem_alloc_failed_t *out, uint32_t *lost);

size_t mem_alloc_failed_static_size(void);
