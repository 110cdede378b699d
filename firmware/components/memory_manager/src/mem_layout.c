/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mem_layout.h"

/* The allocator (TLSF) of heap_caps since ESP-IDF v5.0. */
#define BLOCK_HEADER 4 /* before each block */
#define BLOCK_SIZE_MIN 12
#define BLOCK_SPLIT_MIN 16 /* a remainder of at least this size becomes a free block */
#define HEAP_HEADER 20

/* Per power of two, TLSF has 8 second-level lists in a pool (a heap without HEAP_HEADER) of up to
 * HEAP_8_CLASSES_MAX bytes, 16 in one of up to HEAP_16_CLASSES_MAX bytes, and 32 in a larger one. */
#define HEAP_8_CLASSES_MAX 16384
#define HEAP_16_CLASSES_MAX 262144

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

void mem_census_add(mem_census_t *census, uintptr_t heap, size_t free_block)
{
    if (heap != census->heap) {
        census->largest_sum += census->heap_largest;
        census->heap_largest = 0;
        census->heap = heap;
    }
    census->free_sum += (uint32_t)free_block;
    census->heap_largest = max_u32(census->heap_largest, (uint32_t)free_block);
}

uint32_t mem_census_fragmentation(const mem_census_t *census)
{
    uint64_t outside = census->free_sum - (census->largest_sum + census->heap_largest);
    return census->free_sum == 0 ? 0 : (uint32_t)((100 * outside + census->free_sum / 2) / census->free_sum);
}

/* Distance in bytes between size classes at `size`. Below 4 << sl_log2 there is one class per word. */
static uint32_t class_step(uint32_t size, unsigned sl_log2)
{
    return size < (4U << sl_log2) ? 4 : 1U << (31 - __builtin_clz(size) - sl_log2);
}

uint32_t mem_place_fit(uint32_t block_size, unsigned sl_log2)
{
    return block_size & ~(class_step(block_size, sl_log2) - 1);
}

/* Bytes of a free block that a request uses. */
static uint32_t taken(uint32_t request, unsigned sl_log2)
{
    uint32_t size = max_u32((request + 3) & ~3U, BLOCK_SIZE_MIN);
    uint32_t step = class_step(size, sl_log2);
    return (size + step - 1) & ~(step - 1);
}

static uint8_t classes_log2(uintptr_t heap_size)
{
    uintptr_t bytes = heap_size - HEAP_HEADER;
    return bytes <= HEAP_8_CLASSES_MAX ? 3 : bytes <= HEAP_16_CLASSES_MAX ? 4 : 5;
}

void mem_place_heap(mem_place_t *place, uintptr_t start, uintptr_t end, uint8_t pass)
{
    if (place->heaps < MEM_PLACE_HEAPS) {
        place->heap[place->heaps].start = start;
        place->heap[place->heaps].end = end;
        place->heap[place->heaps].pass = pass;
    }
    place->heaps++;
}

void mem_place_add(mem_place_t *place, size_t free_block)
{
    if (place->heaps > MEM_PLACE_HEAPS) {
        return;
    }
    size_t slot = place->count;
    if (slot < MEM_PLACE_BLOCKS) {
        place->count++;
    } else {
        slot = 0;
        for (size_t i = 1; i < MEM_PLACE_BLOCKS; i++) {
            if (place->block[i].size < place->block[slot].size) {
                slot = i;
            }
        }
        if (place->block[slot].size >= free_block) {
            return;
        }
    }
    place->block[slot].size = (uint32_t)free_block;
    place->block[slot].heap = (uint8_t)(place->heaps - 1);
}

static uint8_t block_classes(const mem_place_t *place, int block)
{
    uint8_t heap = place->block[block].heap;
    return classes_log2(place->heap[heap].end - place->heap[heap].start);
}

static uint32_t block_fit(const mem_place_t *place, int block)
{
    return mem_place_fit(place->block[block].size, block_classes(place, block));
}

static void enter_nested_heaps(mem_place_t *place)
{
    int heaps = place->heaps < MEM_PLACE_HEAPS ? place->heaps : MEM_PLACE_HEAPS;
    for (int inner = 0; inner < heaps; inner++) {
        for (int outer = 0; outer < heaps; outer++) {
            if (outer != inner && place->heap[inner].start >= place->heap[outer].start &&
                place->heap[inner].end <= place->heap[outer].end) {
                place->heap[inner].pass = place->nested_pass;
            }
        }
    }
}

/* True if the allocator prefers block a to block b. */
static bool before(const mem_place_t *place, int a, int b)
{
    uint8_t heap_a = place->block[a].heap;
    uint8_t heap_b = place->block[b].heap;
    if (place->heap[heap_a].pass != place->heap[heap_b].pass) {
        return place->heap[heap_a].pass < place->heap[heap_b].pass;
    }
    return heap_a != heap_b ? heap_a < heap_b : place->block[a].size < place->block[b].size;
}

/* Index of the free block that serves the request; -1 if none does. */
static int choose(const mem_place_t *place, uint32_t request)
{
    int best = -1;
    for (int i = 0; i < place->count; i++) {
        if (request > 0 && request <= block_fit(place, i) && (best < 0 || before(place, i, best))) {
            best = i;
        }
    }
    return best;
}

void mem_place_run(mem_place_t *place, const size_t sizes[], size_t count, memory_placement_t *out)
{
    *out = (memory_placement_t){.placeable = true};
    enter_nested_heaps(place);
    for (size_t i = 0; i < count; i++) {
        int chosen = sizes[i] > UINT32_MAX ? -1 : choose(place, (uint32_t)sizes[i]);
        if (chosen < 0) {
            out->placeable = false;
            out->missing = (uint32_t)sizes[i];
            break;
        }
        out->placed++;
        uint32_t rest = place->block[chosen].size - taken((uint32_t)sizes[i], block_classes(place, chosen));
        place->block[chosen].size = rest >= BLOCK_SPLIT_MIN ? rest - BLOCK_HEADER : 0;
    }
    for (int i = 0; i < place->count; i++) {
        out->largest = max_u32(out->largest, block_fit(place, i));
    }
}
