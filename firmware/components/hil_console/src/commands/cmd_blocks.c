/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * heap.blocks: block map of the heaps. Each record can be read alone: it has a run of blocks and the run's
 * start address.
 */
#include <stdlib.h>

#include "array_size.h"
#include "console.h"
#include "console_snapshots.h"
#include "heap_blocks.h"

/* The block sizes share memory with the snapshots of other commands: only one command runs at a time. */
#define BLOCKS_MAX ARRAY_SIZE(g_console_table.sizes)

#define BLOCK_HEADER 4u /* bytes, in ESP-IDF's heaps on the chip */
#define VALUE_SIZE sizeof("-4194304,")
#define TRUNCATED_SIZE sizeof(",\"truncated\":true")

/** Adds as many blocks as fit into a record, starting with block `first`. @return the number added */
static size_t add_run(console_reply_t *reply, const heap_blocks_t *blocks, size_t first, uint32_t at)
{
    console_u32(reply, "heap", blocks->heap);
    console_u32(reply, "at", at);
    console_array_begin(reply, "blocks");
    size_t next = first;
    while (next < blocks->count && console_has_room(reply, VALUE_SIZE + TRUNCATED_SIZE)) {
        telemetry_i32(&reply->record, NULL, blocks->sizes[next++]);
    }
    console_container_end(reply);
    return next - first;
}

static void add_heap(console_reply_t *reply, const heap_blocks_t *blocks, bool *begun)
{
    uint32_t at = blocks->at;
    for (size_t first = 0; first < blocks->count;) {
        if (*begun) {
            console_next_record(reply);
        }
        *begun = true;
        size_t end = first + add_run(reply, blocks, first, at);
        for (; first < end; first++) {
            at += (uint32_t)abs(blocks->sizes[first]) + BLOCK_HEADER;
        }
    }
    if (blocks->truncated) {
        telemetry_bool(&reply->record, "truncated", true);
    }
}

static esp_err_t heap_blocks(const console_request_t *request, console_reply_t *reply)
{
    uint32_t caps = console_caps(request);
    uint32_t heaps[HEAP_BLOCKS_HEAPS_MAX];
    size_t count;
    esp_err_t err = heap_blocks_heaps(caps, heaps, &count);
    if (err != ESP_OK) {
        return console_fail(reply, err, "more than %d heaps: give a smaller capability set",
                            HEAP_BLOCKS_HEAPS_MAX);
    }
    bool begun = false;
    for (size_t i = 0; i < count; i++) {
        heap_blocks_t blocks = {.heap = heaps[i], .sizes = g_console_table.sizes, .sizes_max = BLOCKS_MAX};
        heap_blocks_read(caps, &blocks);
        add_heap(reply, &blocks, &begun);
    }
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"heap.blocks", "caps=CAPS", heap_blocks,
     "every block of these heaps: sizes in bytes, negative if free; the next block's address is size + 4 "
     "higher"},
};

const console_group_t CMD_BLOCKS = CONSOLE_GROUP(COMMANDS);
