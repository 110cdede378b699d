/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Fragmentation of a set of heaps, and placement of blocks in them. A heap walk adds the free blocks one by
 * one. Pure: no IDF header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

/** Free blocks counted in one walk. Initialise with {0}. */
typedef struct {
    uint32_t free_sum;     //!< Bytes in free blocks
    uint32_t largest_sum;  //!< Sum of each heap's largest free block, for the heaps before the current one
    uint32_t heap_largest; //!< Largest free block of the current heap
    uintptr_t heap;        //!< Start of the current heap
} mem_census_t;

/** Adds a free block. The blocks of one heap must be added consecutively, in the order of
 * heap_caps_walk(). */
void mem_census_add(mem_census_t *census, uintptr_t heap, size_t free_block);

/**
 * Percentage of the free bytes that are outside the largest free block of their heap, rounded to the nearest
 * whole number. Separate heaps do not count as fragmentation. 0 if no memory is free.
 */
uint32_t mem_census_fragmentation(const mem_census_t *census);

#define MEM_PLACE_BLOCKS (MEMORY_PLACE_MAX + 8)
/* An ESP32 with PSRAM and a divided DMA pool has 9 heaps. Blocks of heaps beyond this limit are ignored. */
#define MEM_PLACE_HEAPS 12

/**
 * Free blocks in which requests are placed. Initialise with {.nested_pass = …}. If there are more free blocks
 * than entries, the smallest are omitted, because MEMORY_PLACE_MAX requests never need more than that number
 * of blocks.
 */
typedef struct {
    struct {
        uint32_t size;
        uint8_t heap; //!< Index in `heap`
    } block[MEM_PLACE_BLOCKS];
    struct {
        uintptr_t start;
        uintptr_t end;
        uint8_t pass;
    } heap[MEM_PLACE_HEAPS]; //!< In the order of the walk
    uint8_t count;
    uint8_t heaps;       //!< Number of heaps added, which may exceed MEM_PLACE_HEAPS
    uint8_t nested_pass; //!< The allocator's pass that uses a heap inside a block of another heap
} mem_place_t;

/**
 * Adds a heap, even if it has no free block. The heaps must be added in the order of heap_caps_walk().
 *
 * @param pass  Number, from 0, of the allocator's pass over all heaps in which it uses this heap for the
 *              request. Ignored for a heap inside another one, see nested_pass
 */
void mem_place_heap(mem_place_t *place, uintptr_t start, uintptr_t end, uint8_t pass);

/** Adds a free block of the last added heap. */
void mem_place_add(mem_place_t *place, size_t free_block);

/**
 * Places the blocks in order, as the allocator would: it uses the first heap with room in the earliest pass,
 * and in that heap a free block of the smallest size class that fits. Consumes `place`. If several free
 * blocks are in that class, the allocator's choice depends on the order in which they were freed. This
 * function takes the smallest; the others differ from it by less than a class step.
 */
void mem_place_run(mem_place_t *place, const size_t sizes[], size_t count, memory_placement_t *out);

/**
 * Largest request that a free block of this size can serve, in a heap with 1 << sl_log2 size classes per
 * power of two.
 */
uint32_t mem_place_fit(uint32_t block_size, unsigned sl_log2);
