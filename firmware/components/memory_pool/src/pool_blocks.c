/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pool_blocks.h"

#include "esp_attr.h"

#define POOL_END 0xFFFEu
#define POOL_USED 0xFFFFu
#define ALIGNMENT 4u
#define SIZE_MAX_ 0x7FFFFFFFu /* more than any memory of the chip */

static size_t aligned(size_t size)
{
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t list_bytes(size_t count)
{
    return aligned(count * sizeof(uint16_t));
}

size_t pool_bytes(size_t block, size_t count)
{
    if (block == 0 || count == 0 || count > POOL_COUNT_MAX || block > SIZE_MAX_ / count - ALIGNMENT) {
        return 0;
    }
    return list_bytes(count) + count * aligned(block);
}

void pool_init(pool_blocks_t *pool, void *memory, size_t block, size_t count)
{
    *pool = (pool_blocks_t){
        .next = memory,
        .blocks = (uint8_t *)memory + list_bytes(count),
        .block_size = (uint32_t)aligned(block),
        .count = (uint32_t)count,
    };
    for (size_t i = 0; i < count; i++) {
        pool->next[i] = (uint16_t)(i + 1 < count ? i + 1 : POOL_END);
    }
}

IRAM_ATTR void *pool_take(pool_blocks_t *pool)
{
    uint16_t taken = pool->first;
    if (taken == POOL_END) {
        return NULL;
    }
    pool->first = pool->next[taken];
    pool->next[taken] = POOL_USED;
    pool->used++;
    if (pool->used > pool->high_water) {
        pool->high_water = pool->used;
    }
    return pool->blocks + taken * pool->block_size;
}

IRAM_ATTR pool_give_t pool_give(pool_blocks_t *pool, const void *block)
{
    uintptr_t offset = (uintptr_t)block - (uintptr_t)pool->blocks; /* wraps below the blocks */
    if (offset >= (uintptr_t)pool->count * pool->block_size) {
        return POOL_OUTSIDE;
    }
    uint32_t number = (uint32_t)offset / pool->block_size;
    if (offset != (uintptr_t)number * pool->block_size) {
        return POOL_INSIDE;
    }
    if (pool->next[number] != POOL_USED) {
        return POOL_FREE;
    }
    pool->next[number] = pool->first;
    pool->first = (uint16_t)number;
    pool->used--;
    return POOL_GIVEN;
}
