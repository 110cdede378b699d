/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Test driver for heap_hold.c and heap_blocks.c on the heap model. Reads commands from stdin; answers each
 * with one line of numbers.
 *
 *   boot KEY VALUE          a line of the chip's boot           -> 1 or 0
 *   take CAPS SIZE          allocate, like other tasks          -> address or 0
 *   give ADDRESS            free                                -> 0
 *   leave CAPS LEAVE BLOCK  heap_hold_leave                     -> error, id, free, blocks
 *   size CAPS SIZE          heap_hold_size                      -> error, id, free, blocks
 *   split CAPS BLOCK COUNT  heap_hold_split                     -> error, id, free, blocks
 *   release ID              heap_hold_release                   -> 1 or 0, bytes, blocks
 *   free CAPS               ask the allocator                   -> free, largest
 *   blocks CAPS MAX         heap_blocks_read, room for MAX      -> for each heap: heap, at, truncated, count,
 * sizes
 *   census                  heap_blocks_census                  -> for each heap: heap, blocks, bytes, sum
 *
 * CAPS are names (console_caps.c).
 */
#include <stdio.h>
#include <string.h>

#include "console_caps.h"
#include "esp_heap_caps.h"
#include "heap_blocks.h"
#include "heap_caps_native.h"
#include "heap_fail.h"
#include "heap_hold.h"

void *heap_fail_quiet_malloc(size_t size, uint32_t caps)
{
    return heap_caps_malloc(size, caps);
}

static void answer_hold(esp_err_t err, unsigned id, uint32_t caps)
{
    heap_hold_info_t info = {0};
    heap_hold_info(id, &info);
    printf("%d %u %zu %u\n", err, id, heap_caps_get_free_size(caps), (unsigned)info.blocks);
}

#define SIZES_MAX 4096

static void answer_blocks(uint32_t caps, size_t sizes_max)
{
    static int32_t s_sizes[SIZES_MAX];
    uint32_t heaps[HEAP_BLOCKS_HEAPS_MAX];
    size_t count;
    heap_blocks_heaps(caps, heaps, &count);
    for (size_t i = 0; i < count; i++) {
        heap_blocks_t blocks = {.heap = heaps[i], .sizes = s_sizes, .sizes_max = sizes_max};
        heap_blocks_read(caps, &blocks);
        printf("%u %u %d %zu ", (unsigned)blocks.heap, (unsigned)blocks.at, blocks.truncated, blocks.count);
        for (size_t b = 0; b < blocks.count; b++) {
            printf("%d ", (int)blocks.sizes[b]);
        }
    }
    printf("\n");
}

static void answer_census(void)
{
    heap_census_t census[HEAP_BLOCKS_HEAPS_MAX];
    size_t count = heap_blocks_census(census);
    for (size_t i = 0; i < count; i++) {
        printf("%u %u %u %u ", (unsigned)census[i].heap, (unsigned)census[i].count, (unsigned)census[i].bytes,
               (unsigned)census[i].sum);
    }
    printf("\n");
}

int main(void)
{
    heap_system_t *system = heap_system_create(HEAP_BACKING_TARGET);
    char line[256];
    char word[16];
    char text[200];
    unsigned long first = 0;
    unsigned long second = 0;
    bool booted = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (sscanf(line, "boot %15s %199[^\n]", word, text) == 2) {
            printf("%d\n", heap_system_boot_line(system, word, text));
            continue;
        }
        if (!booted) {
            heap_caps_native_init(system);
            booted = true;
        }
        text[0] = '\0';
        second = 0;
        uint32_t caps = 0;
        unsigned id = 0;
        uint32_t had;
        heap_hold_info_t info = {0};
        if (sscanf(line, "give %lu", &first) == 1) {
            heap_caps_free((void *)first);
            printf("0\n");
        } else if (strcmp(line, "census\n") == 0) {
            answer_census();
        } else if (sscanf(line, "release %lu", &first) == 1) {
            int there = heap_hold_release((unsigned)first, &info);
            printf("%d %u %u\n", there, (unsigned)info.bytes, (unsigned)info.blocks);
        } else if (sscanf(line, "%15s %199s %lu %lu", word, text, &first, &second) < 2 ||
                   !console_caps_parse(text, &caps)) {
            printf("? %s", line);
        } else if (strcmp(word, "take") == 0) {
            printf("%lu\n", (unsigned long)heap_caps_malloc(first, caps));
        } else if (strcmp(word, "free") == 0) {
            printf("%zu %zu\n", heap_caps_get_free_size(caps), heap_caps_get_largest_free_block(caps));
        } else if (strcmp(word, "blocks") == 0) {
            answer_blocks(caps, first < SIZES_MAX ? first : SIZES_MAX);
        } else if (strcmp(word, "leave") == 0) {
            esp_err_t err = heap_hold_leave(caps, (uint32_t)first, (uint32_t)second, &id);
            answer_hold(err, id, caps);
        } else if (strcmp(word, "size") == 0) {
            esp_err_t err = heap_hold_size(caps, (uint32_t)first, &id);
            answer_hold(err, id, caps);
        } else {
            esp_err_t err = heap_hold_split(caps, (uint32_t)first, (uint32_t)second, &id, &had);
            answer_hold(err, id, caps);
        }
    }
    return 0;
}
