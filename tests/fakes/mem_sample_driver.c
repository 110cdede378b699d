/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem_sample.c on the heap model: `driver SEED STEPS`, the lines of the chip's boot on stdin. Allocates and
 * frees at random, and compares the manager's answers with the allocator. Prints counts, or the first
 * difference.
 */
#include <stdio.h>
#include <stdlib.h>
#include "array_size.h"
#include "boot_memory.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "heap_caps_native.h"
#include "mem_sample.h"
#include "memory_manager.h"

#define HELD_MAX 400

static struct {
    void *block;
    uint32_t caps;
} s_held[HELD_MAX];
static size_t s_count;
static unsigned s_random;
static unsigned s_checks, s_yes, s_places, s_placeable, s_misplaced;

/* Does nothing: the program has a single task. */
void vPortEnterCritical(portMUX_TYPE *mux)
{
    (void)mux;
}

void vPortExitCritical(portMUX_TYPE *mux)
{
    (void)mux;
}

uint32_t esp_log_timestamp(void)
{
    return 7;
}

static unsigned any(unsigned below)
{
    s_random = s_random * 1664525 + 1013904223;
    return (s_random >> 8) % below;
}

static void differ(const char *what, unsigned long a, unsigned long b)
{
    printf("%s: %lu %lu\n", what, a, b);
    exit(1);
}

static void take(uint32_t caps, size_t size)
{
    void *block = s_count < HELD_MAX ? heap_caps_malloc(size, caps) : NULL;
    if (block != NULL) {
        s_held[s_count].block = block;
        s_held[s_count++].caps = caps;
    }
}

static void give(size_t index)
{
    heap_caps_free(s_held[index].block);
    s_held[index] = s_held[--s_count];
}

static void check_one(uint32_t caps, size_t size)
{
    bool said = caps == MALLOC_CAP_DMA ? memory_manager_check_dma_available(size)
                                       : memory_manager_check_psram_available(size);
    void *block = heap_caps_malloc(size, caps);
    if (said != (block != NULL)) {
        differ(said ? "said available, is not" : "said not available, is", size, caps);
    }
    heap_caps_free(block);
    s_checks++;
    s_yes += said;
}

static void check_available(uint32_t caps)
{
    size_t largest = heap_caps_get_largest_free_block(caps);
    size_t sum = heap_caps_get_free_size(caps);
    const size_t sizes[] = {0,           1,           12,      13,  largest - 1, largest,
                            largest + 1, largest + 4, sum - 4, sum, sum + 1,     any(sum + 100)};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        check_one(caps, sizes[i]);
    }
}

static void check_place(uint32_t caps)
{
    size_t sizes[MEMORY_PLACE_MAX];
    void *blocks[MEMORY_PLACE_MAX];
    size_t count = 1 + any(MEMORY_PLACE_MAX);
    size_t done = 0;
    memory_placement_t said;
    size_t scale =
        1 + 2 * heap_caps_get_free_size(caps) / (count + any(4)); /* about the free memory in total */
    size_t largest = 1 + heap_caps_get_largest_free_block(caps);
    /* Mixed sizes: whether a large block fits depends on the heaps that earlier small blocks use. */
    for (size_t i = 0; i < count; i++) {
        sizes[i] = 1 + any(any(4) == 0 ? largest : scale);
    }
    if (memory_manager_place(caps, sizes, count, &said) != ESP_OK) {
        differ("place refused", count, caps);
    }
    for (; done < count && (blocks[done] = heap_caps_malloc(sizes[done], caps)) != NULL; done++) {
    }
    if (said.placeable != (said.placed == count) || (!said.placeable && said.missing != sizes[said.placed])) {
        differ("place contradicts itself", said.placed, count);
    }
    s_misplaced += said.placed != done;
    s_places++;
    s_placeable += done == count;
    while (done > 0) {
        heap_caps_free(blocks[--done]);
    }
}

static void check_stats(void)
{
    memory_stats_t stats;
    mem_sample_take(&stats);
    const struct {
        uint32_t caps, free_bytes, largest, watermark;
    } said[] = {
        {MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT, stats.internal_free, stats.internal_largest,
         stats.internal_watermark},
        {MALLOC_CAP_DMA, stats.dma_free, stats.dma_largest, stats.dma_watermark},
        {MALLOC_CAP_SPIRAM, stats.psram_free, stats.psram_largest, stats.psram_watermark},
        {MALLOC_CAP_DEFAULT, stats.total_free, 0, stats.total_watermark},
    };
    for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
        if (said[i].free_bytes != heap_caps_get_free_size(said[i].caps)) {
            differ("free", said[i].free_bytes, said[i].caps);
        }
        if (said[i].largest != 0 && said[i].largest != heap_caps_get_largest_free_block(said[i].caps)) {
            differ("largest", said[i].largest, said[i].caps);
        }
        if (said[i].watermark != heap_caps_get_minimum_free_size(said[i].caps)) {
            differ("watermark", said[i].watermark, said[i].caps);
        }
    }
    if (stats.iram_free != heap_caps_get_free_size(MALLOC_CAP_INTERNAL) - stats.internal_free) {
        differ("iram", stats.iram_free, 0);
    }
    static uint32_t lowest = UINT32_MAX;
    if (stats.total_minimum_free > lowest || stats.total_minimum_free > stats.total_watermark) {
        differ("minimum ever rose", stats.total_minimum_free, lowest);
    }
    lowest = stats.total_minimum_free;
}

/* A dip that ends before the sample must lower the window's watermark and, permanently, the minimum. */
static void check_dip(void)
{
    memory_stats_t before, after, next;
    mem_sample_new_window();
    mem_sample_take(&before);
    size_t size = heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM);
    heap_caps_free(heap_caps_malloc(size, MALLOC_CAP_SPIRAM));
    mem_sample_take(&after);
    mem_sample_new_window();
    mem_sample_take(&next);
    if (after.psram_free != before.psram_free || after.psram_watermark + size > before.psram_free) {
        differ("dip not seen", after.psram_watermark, before.psram_free);
    }
    if (next.psram_watermark != next.psram_free || next.total_minimum_free > after.total_watermark) {
        differ("window not new, or minimum forgotten", next.psram_watermark, next.total_minimum_free);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    s_random = (unsigned)atoi(argv[1]);
    heap_system_t *system = boot_memory();
    if (system == NULL) {
        return 1;
    }
    heap_caps_native_init(system);
    uint32_t minimum_before = (uint32_t)heap_caps_get_minimum_free_size(MALLOC_CAP_DEFAULT);
    heap_caps_free(heap_caps_malloc(1000000, MALLOC_CAP_SPIRAM)); /* a dip before init must also count */
    if (mem_sample_init() != ESP_OK) {
        differ("init", 0, 0);
    }
    memory_stats_t stats;
    mem_sample_take(&stats);
    if (stats.total_minimum_free > minimum_before - 1000000) {
        differ("minimum before init forgotten", stats.total_minimum_free, minimum_before);
    }
    if (stats.internal_fragmentation > 3 || stats.dma_fragmentation > 3 || stats.psram_fragmentation > 3) {
        differ("untouched heap is called fragmented", stats.internal_fragmentation, stats.dma_fragmentation);
    }
    const uint32_t sets[] = {MALLOC_CAP_DMA, MALLOC_CAP_SPIRAM};
    const uint32_t placed[] = {MALLOC_CAP_DMA,      MALLOC_CAP_SPIRAM,  MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT,
                               MALLOC_CAP_INTERNAL, MALLOC_CAP_DEFAULT, MALLOC_CAP_32BIT};
    for (int step = 0; step < atoi(argv[2]); step++) {
        uint32_t caps = sets[any(2)];
        if (any(5) < 3) {
            take(caps, 1 + any(any(3) == 0 ? 40000 : 2000));
        } else if (s_count > 0) {
            give(any((unsigned)s_count));
        }
        if (step % 100 == 99) { /* low memory: allocate nearly all of it, in blocks */
            while (s_count < HELD_MAX && heap_caps_get_free_size(caps) > 30000 + any(30000)) {
                take(caps, 1 + any((unsigned)heap_caps_get_largest_free_block(caps)));
            }
        } else if (step % 100 == 0) {
            while (s_count > HELD_MAX / 4) {
                give(any((unsigned)s_count));
            }
        }
        check_stats();
        check_available(caps);
        check_place(placed[any(ARRAY_SIZE(placed))]);
        check_dip();
    }
    printf("checks=%u yes=%u places=%u placeable=%u misplaced=%u\n", s_checks, s_yes, s_places, s_placeable,
           s_misplaced);
    return 0;
}
