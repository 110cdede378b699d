/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Block map of a heap, in the order of the allocator's walk. Console task only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#define HEAP_BLOCKS_HEAPS_MAX 12

/** Blocks of one heap in address order. User address of the next block = user address + size + 4. */
typedef struct {
    uint32_t heap;    /*!< start of the heap, as in heap.regions */
    uint32_t at;      /*!< user address of the first block */
    size_t count;     /*!< number of entries in sizes */
    bool truncated;   /*!< the heap has more blocks than sizes has room for */
    int32_t *sizes;   /*!< usable bytes of each block; negative: the block is free */
    size_t sizes_max; /*!< capacity of sizes, entries */
} heap_blocks_t;

/** Used blocks of one heap. Two censuses are equal only if all sizes are the same, except for hash
 * collisions. */
typedef struct {
    uint32_t heap;  /*!< start of the heap, as in heap.regions */
    uint32_t count; /*!< number of used blocks */
    uint32_t bytes; /*!< usable bytes of these blocks */
    uint32_t sum;   /*!< checksum over the sizes of these blocks, regardless of their order */
} heap_census_t;

/** Counts the used blocks of all heaps. @return number of heaps, at most HEAP_BLOCKS_HEAPS_MAX */
size_t heap_blocks_census(heap_census_t census[HEAP_BLOCKS_HEAPS_MAX]);

/**
 * Gets the start addresses of the heaps with these capabilities, in the allocator's order.
 * @return ESP_OK; ESP_ERR_INVALID_SIZE: more than HEAP_BLOCKS_HEAPS_MAX heaps
 */
esp_err_t heap_blocks_heaps(uint32_t caps, uint32_t heaps[HEAP_BLOCKS_HEAPS_MAX], size_t *count);

/**
 * Fills *blocks in a single walk of its heap, so the map is consistent. The walk stops when sizes is full,
 * because it runs with the heap locked and interrupts off.
 */
void heap_blocks_read(uint32_t caps, heap_blocks_t *blocks);
