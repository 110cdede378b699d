/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The blocks of a pool, and the list of free blocks. Pure: no IDF header but esp_attr.h. Not thread-safe.
 *
 * The list is in front of the blocks, not in them, so that a write to a freed block does not damage it. The
 * entry of a block in use has a special value, so that a second free is detected.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_COUNT_MAX 65533u

typedef struct {
    uint16_t *next; /* per block: the next free block, POOL_END, or POOL_USED */
    uint8_t *blocks;
    uint32_t block_size;
    uint32_t count;
    uint32_t used;
    uint32_t high_water;
    uint16_t first; /* first free block, or POOL_END */
} pool_blocks_t;

typedef enum {
    POOL_GIVEN,
    POOL_OUTSIDE, /* not an address in the blocks */
    POOL_INSIDE,  /* in a block, but not its start */
    POOL_FREE,    /* a block that is already free */
} pool_give_t;

/** Bytes of memory for `count` blocks; 0 if an argument is 0 or too large. */
size_t pool_bytes(size_t block, size_t count);
/** Initialises a pool in memory of pool_bytes() bytes, aligned to 4 bytes. All blocks are free. */
void pool_init(pool_blocks_t *pool, void *memory, size_t block, size_t count);
/** @return a block; NULL: none is free */
void *pool_take(pool_blocks_t *pool);
pool_give_t pool_give(pool_blocks_t *pool, const void *block);
