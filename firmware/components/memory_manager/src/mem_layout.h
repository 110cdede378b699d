/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Fragmentation of a set of heaps, and placement of blocks in them. Fed block by block from a heap walk.
 * Pure: no IDF header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

/** Census of one walk. Start with {0}. */
typedef struct {
    uint32_t free_sum;     //!< Bytes in free blocks
    uint32_t largest_sum;  //!< Sum of the largest free block of each heap seen before the present one
    uint32_t heap_largest; //!< Largest free block of the present heap
    uintptr_t heap;        //!< Start of the present heap
} mem_census_t;

/** The blocks of one heap must be consecutive, as in heap_caps_walk(). */
void mem_census_add(mem_census_t *census, uintptr_t heap, size_t free_block);

/**
 * Percent of the free bytes that lie outside the largest block of their heap, to the nearest; 0 if nothing is
 * free. An untouched heap is one block, so several separate regions do not count as fragmentation.
 */
uint32_t mem_census_fragmentation(const mem_census_t *census);

#define MEM_PLACE_BLOCKS (MEMORY_PLACE_MAX + 8)

/**
 * Free blocks to place others in. Start with {0}. When there are more free blocks than entries the smallest
 * are omitted: MEMORY_PLACE_MAX requests need at most that number of the largest.
 */
typedef struct {
    struct {
        uint32_t size;
        uint8_t heap;    //!< Number of the heap in the walk
        uint8_t sl_log2; //!< log2 of the heap's size classes per power of two
    } block[MEM_PLACE_BLOCKS];
    uint8_t count;
    uint8_t heaps;
    uintptr_t heap_start; //!< Of the last heap seen
} mem_place_t;

void mem_place_add(mem_place_t *place, uintptr_t heap_start, uintptr_t heap_end, size_t free_block);

/**
 * Places the blocks in order, as the allocator would: in the first heap that has room, in a block of the
 * smallest size class that fits. Consumes `place`. Where several free blocks share that class, the
 * allocator's choice depends on the order in which they were freed; this function takes the smallest (the
 * others differ by less than a class step).
 */
void mem_place_run(mem_place_t *place, const size_t sizes[], size_t count, memory_placement_t *out);

/**
 * The largest request that a free block of this size can serve in a heap with 1 << sl_log2 classes: rounds
 * down.
 */
uint32_t mem_place_fit(uint32_t block_size, unsigned sl_log2);
