/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The walkers run with the heap locked and interrupts off: they only store what they receive.
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
    return false; /* the first block is enough: on to the next heap */
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
