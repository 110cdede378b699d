/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A heap, block by block, as its allocator walks it. Console task only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#define HEAP_BLOCKS_HEAPS_MAX 12

/** The blocks of one heap in address order. The next block's user address is this one's, and its size, and 4.
 */
typedef struct {
    uint32_t heap;    /*!< where the heap begins, as heap.regions has it */
    uint32_t at;      /*!< user address of the first block */
    size_t count;     /*!< of sizes */
    bool truncated;   /*!< the heap has more blocks than there was room for */
    int32_t *sizes;   /*!< usable bytes, negative: the block is free */
    size_t sizes_max; /*!< what sizes has room for */
} heap_blocks_t;

/**
 * The heaps that have these capabilities, in the allocator's order.
 * @return ESP_ERR_INVALID_SIZE: there are more than HEAP_BLOCKS_HEAPS_MAX.
 */
esp_err_t heap_blocks_heaps(uint32_t caps, uint32_t heaps[HEAP_BLOCKS_HEAPS_MAX], size_t *count);

/**
 * Fills *blocks from one walk of its heap, so that all of it is of one moment. The walk ends where the room
 * does: it holds the heap's lock with interrupts off.
 */
void heap_blocks_read(uint32_t caps, heap_blocks_t *blocks);
