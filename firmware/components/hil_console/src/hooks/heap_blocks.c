/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The walkers run with the heap locked and interrupts off, so they only store values.
 */
#include "heap_blocks.h"

#include "esp_heap_caps.h"

typedef struct {
    uint32_t *heaps;
    size_t count;
    bool overflow;
} heap_list_t;

static bool note_heap(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    (void)block;
    heap_list_t *list = user_data;
    if (list->count == HEAP_BLOCKS_HEAPS_MAX) {
        list->overflow = true;
    } else {
        list->heaps[list->count++] = (uint32_t)heap.start;
    }
    return false; /* one block is enough: continue with the next heap */
}

esp_err_t heap_blocks_heaps(uint32_t caps, uint32_t heaps[HEAP_BLOCKS_HEAPS_MAX], size_t *count)
{
    heap_list_t list = {.heaps = heaps};
    heap_caps_walk(caps, note_heap, &list);
    *count = list.count;
    return list.overflow ? ESP_ERR_INVALID_SIZE : ESP_OK;
}

static bool note_block(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    heap_blocks_t *blocks = user_data;
    if ((uint32_t)heap.start != blocks->heap) {
        return false;
    }
    if (blocks->count == blocks->sizes_max) {
        blocks->truncated = true;
        return false;
    }
    if (blocks->count == 0) {
        blocks->at = (uint32_t)(uintptr_t)block.ptr;
    }
    blocks->sizes[blocks->count++] = block.used ? (int32_t)block.size : -(int32_t)block.size;
    return true;
}

void heap_blocks_read(uint32_t caps, heap_blocks_t *blocks)
{
    blocks->at = 0;
    blocks->count = 0;
    blocks->truncated = false;
    heap_caps_walk(caps, note_block, blocks);
}

/* Finalizer of MurmurHash3. The sum of these values depends on each size, but not on the order of the
 * blocks. */
static uint32_t mix(uint32_t size)
{
    size ^= size >> 16;
    size *= 0x85ebca6bU;
    size ^= size >> 13;
    size *= 0xc2b2ae35U;
    return size ^ size >> 16;
}

typedef struct {
    heap_census_t *heaps;
    size_t count;
} census_t;

static bool count_used(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    census_t *census = user_data;
    uint32_t start = (uint32_t)heap.start;
    if (census->count == 0 || census->heaps[census->count - 1].heap != start) {
        if (census->count == HEAP_BLOCKS_HEAPS_MAX) {
            return false;
        }
        census->heaps[census->count++] = (heap_census_t){.heap = start};
    }
    if (block.used) {
        heap_census_t *counted = &census->heaps[census->count - 1];
        counted->count++;
        counted->bytes += (uint32_t)block.size;
        counted->sum += mix((uint32_t)block.size);
    }
    return true;
}

size_t heap_blocks_census(heap_census_t census[HEAP_BLOCKS_HEAPS_MAX])
{
    census_t counted = {.heaps = census};
    heap_caps_walk_all(count_used, &counted);
    return counted.count;
}
