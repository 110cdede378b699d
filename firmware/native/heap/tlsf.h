/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * One heap: ESP-IDF's 32-bit TLSF ("two-level segregated fit") allocator with multi_heap's accounting.
 *
 * Free blocks are in lists by size class. Classes are 4 bytes apart below `small` bytes; above, each power
 * of two is divided into 2^sl_log2 equal steps. A request is rounded up to its class, so that the head of
 * the first non-empty list at or above it always fits ("good fit").
 *
 * A block is identified by the address 8 bytes below its data, as in TLSF:
 *
 *   block + 0   address of the block below, valid only while that block is free (else its last data word)
 *   block + 4   size of the data, a multiple of 4; bit 0: this block is free; bit 1: the block below is free
 *   block + 8   data; in a free block, the next and the previous block of its list
 *
 * So a block in use takes its size + 4 bytes. A used block of size 0 ends the heap.
 */
#pragma once

#include "esp_heap_model.h"

#define TLSF_MAX_LENGTH 0x400000u // ESP32: SOC_MAX_CONTIGUOUS_RAM_SIZE
#define TLSF_FIRST_LEVEL 16       // number of first levels (powers of two) for TLSF_MAX_LENGTH
#define TLSF_SECOND_LEVEL 32      // most classes per power of two
#define TLSF_BLOCK_HEADER 4u      // bytes of overhead of a block in use
#define TLSF_BLOCK_MIN 12u        // smallest size of a block

typedef struct {
    uint32_t start; // address of the region
    uint32_t length;
    uint8_t *host;         // host memory of `start`
    uint32_t control_size; // size of the allocator's control structure on the chip
    uint32_t first;        // lowest block
    uint32_t sentinel;     // the block of size 0 at the end
    uint32_t null;         // value that ends a list on the chip: an address inside the control structure
    uint32_t block_limit;  // requests must be below this
    uint32_t sl_log2;
    uint32_t fl_count;
    uint32_t fl_bitmap; // first levels with a non-empty list
    uint32_t sl_bitmap[TLSF_FIRST_LEVEL];
    uint32_t heads[TLSF_FIRST_LEVEL][TLSF_SECOND_LEVEL];
    uint32_t free_bytes;
    uint32_t minimum_free_bytes;
    uint32_t used_blocks;
    uint32_t free_blocks;
    uint32_t scratch; // replaces a word outside the heap after damage
    char fault[96];   // first damage found; "" if none
} tlsf_heap_t;

/* False if the region is too small or too large for a heap. start: a multiple of 4. */
bool tlsf_init(tlsf_heap_t *heap, uint32_t start, uint32_t length, uint8_t *host);

/* Replaces the single free block of a new heap with recorded blocks, in address order; false if they do not
 * fill the heap. */
bool tlsf_restore(tlsf_heap_t *heap, const heap_block_t *blocks, uint32_t count);

/* Addresses point to data, not to block headers; 0 is NULL. alignment: a power of two. For realloc, size must
 * not be 0, and address must be a block in use. */
uint32_t tlsf_malloc(tlsf_heap_t *heap, uint32_t size);
uint32_t tlsf_memalign(tlsf_heap_t *heap, uint32_t alignment, uint32_t size);
uint32_t tlsf_realloc(tlsf_heap_t *heap, uint32_t address, uint32_t size);
heap_status_t tlsf_free(tlsf_heap_t *heap, uint32_t address);

/* HEAP_OK if a block in use starts at address; *size is then its size. */
heap_status_t tlsf_used_block(tlsf_heap_t *heap, uint32_t address, uint32_t *size);

void tlsf_figures(const tlsf_heap_t *heap, heap_figures_t *figures);
/* Blocks in address order until the walker returns false. */
void tlsf_walk(tlsf_heap_t *heap, heap_walker_t walker, void *context);
bool tlsf_check(tlsf_heap_t *heap);
