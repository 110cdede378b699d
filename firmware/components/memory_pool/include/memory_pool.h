/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pools: blocks of one size from a single allocation. Allocating and freeing a block take constant time and
 * do not fragment the heap.
 *
 * memory_pool_alloc() and memory_pool_free() may be called by tasks and interrupts, on both cores, and if the
 * pool is in internal memory, even while the flash cache is off. All other functions: tasks only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_POOL_BLOCKS_MAX 65533u //!< Maximum number of blocks in one pool

typedef struct memory_pool memory_pool_t;

typedef struct {
    const char *name;
    uint32_t caps;
    uint32_t block_size; //!< Usable bytes of a block, a multiple of 4
    uint32_t count;      //!< Blocks of the pool
    uint32_t used;       //!< Blocks in use
    uint32_t high_water; //!< Maximum number of blocks in use at a time
    uint32_t from_heap;  //!< Blocks that came from the heap because the pool was empty
    uint32_t heap_used;  //!< Blocks from the heap that are in use
    uint32_t refused;    //!< Calls to memory_pool_alloc() that returned NULL
    uint32_t misused;    //!< Calls to memory_pool_free() that failed
    uint32_t bytes;      //!< Size of the pool's allocation
} memory_pool_stats_t;

/**
 * Creates a pool of `count` blocks of at least `block` bytes, aligned to 4 bytes. The name must stay valid.
 *
 * @return NULL: out of memory, CONFIG_HOTPIN_MEM_POOLS_MAX pools exist, name is NULL, or block or count is 0
 * or too large
 */
memory_pool_t *memory_pool_create(const char *name, size_t block, size_t count, uint32_t caps);

/** Deletes a pool and frees its memory. ESP_ERR_INVALID_STATE: blocks are in use; ESP_ERR_INVALID_ARG: not a
 * pool. */
esp_err_t memory_pool_delete(memory_pool_t *pool);

/** Sets whether memory_pool_alloc() allocates a block from the heap, with the pool's capabilities, when the
 * pool is empty. By default, and always in an interrupt, it returns NULL instead. */
void memory_pool_set_fallback(memory_pool_t *pool, bool heap);

/** Allocates a block; its content is undefined. @return NULL: the pool is empty, and no heap block replaces
 * it, because the fallback is off, the heap is out of memory, or the caller is an interrupt */
void *memory_pool_alloc(memory_pool_t *pool);

/**
 * Frees a block. A wrong call changes nothing, and is counted.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: block is not the start of a block of this pool
 *      - ESP_ERR_INVALID_STATE: the block is already free; or the caller is an interrupt, and the block may
 *        be from the heap
 */
esp_err_t memory_pool_free(memory_pool_t *pool, void *block);

/** ESP_ERR_INVALID_ARG: not a pool, or out is NULL. */
esp_err_t memory_pool_get_stats(const memory_pool_t *pool, memory_pool_stats_t *out);

/** @return the pool with this number, from 0 to CONFIG_HOTPIN_MEM_POOLS_MAX - 1; NULL if there is none */
memory_pool_t *memory_pool_at(size_t number);

/** Bytes of internal memory that this component uses in addition to the pools' allocations. */
size_t memory_pool_static_size(void);

#ifdef __cplusplus
}
#endif
