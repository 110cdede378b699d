/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The ESP32's heap, to the byte: TLSF blocks, heaps with capabilities, and the order in which ESP-IDF v5.4
 * searches them. No globals: a heap_system_t contains all heaps of one chip.
 *
 * Addresses are the chip's (32 bits). The backing memory is selected once per system. In the firmware process
 * the regions are mapped at these addresses, so a pointer is an address. In other processes (the Python
 * binding) the regions are anywhere in host memory, and heap_system_host() translates. Block headers are in
 * the backing memory, so that a buffer overrun damages them as on the chip. The allocator's control structure
 * is not, but its size is charged to the heap.
 *
 * Not thread safe: the firmware's tasks run one at a time. Sizes are bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HEAP_PRIORITIES 3 // capability sets per heap, one per priority (SOC_MEMORY_TYPE_NO_PRIOS)
#define HEAP_MAX_HEAPS 16 // maximum number of heaps in a system

typedef struct heap_system heap_system_t;

typedef enum {
    HEAP_BACKING_TARGET,  // mapped at the chip's addresses; once per process
    HEAP_BACKING_PRIVATE, // anywhere in host memory
} heap_backing_t;

typedef enum {
    HEAP_TYPE_DRAM,
    HEAP_TYPE_DIRAM,
    HEAP_TYPE_IRAM,
    HEAP_TYPE_SPIRAM,
    HEAP_TYPE_POOL_V542, // the DMA pool of ESP-IDF v5.4.2 to v5.4.4: without MALLOC_CAP_DEFAULT
    HEAP_TYPE_POOL,      // the DMA pool of later versions: with MALLOC_CAP_DEFAULT
    HEAP_TYPE_COUNT,
} heap_type_t;

typedef enum {
    HEAP_OK,
    HEAP_OUTSIDE,      // the address is in no heap
    HEAP_ALREADY_FREE, // the block at this address is free
    HEAP_DAMAGED,      // no block starts at this address, or its header or a neighbour's was overwritten
} heap_status_t;

/* Statistics of one or several heaps; fields as in multi_heap_info_t. */
typedef struct {
    uint32_t free_bytes;
    uint32_t allocated_bytes;
    uint32_t largest_free_block; // rounded down to its size class; maximum over the heaps
    uint32_t minimum_free_bytes; // sum of the minima of the heaps
    uint32_t allocated_blocks;
    uint32_t free_blocks;
    uint32_t total_blocks;
} heap_figures_t;

typedef struct {
    uint32_t start; // address of the region
    uint32_t length;
    heap_type_t type;
    uint32_t caps[HEAP_PRIORITIES];
} heap_description_t;

typedef struct {
    uint32_t heap_start;
    uint32_t heap_end;
    uint32_t address; // address of the data, as returned by malloc
    uint32_t size;    // without the 4-byte header
    bool used;
} heap_block_t;

/* Called for each block. Return true to go to the next block, false to skip to the next heap. */
typedef bool (*heap_walker_t)(const heap_block_t *block, void *context);

/* --- One system: setting up --- */

/* Returns NULL if the host is out of memory. */
heap_system_t *heap_system_create(heap_backing_t backing);
void heap_system_destroy(heap_system_t *system);

/*
 * Error of the last failed set-up call (a function below that returns bool): one line with cause and remedy;
 * "" if none failed. Valid until the next set-up call.
 */
const char *heap_system_error(const heap_system_t *system);

/*
 * Performs one step of the chip's boot; call in the chip's order. BoardProfile.boot_lines() writes such
 * lines into the params file of the firmware process:
 *
 *   heap=0x3FFAE6E0,6432,DRAM
 *      adds a region. First DRAM, DIRAM and IRAM, in search order (v5.4: by address; v5.5: smallest first),
 *      then SPIRAM.
 *
 *   startup=INTERNAL,8BIT:4096+352:main task allocates blocks that exist before app_main, under a name.
 *
 *   free=main task
 *      frees the blocks of the startup line with that name, last block first.
 *
 *   pool=32768,0
 *      creates the DMA pool. 1 instead of 0: with MALLOC_CAP_DEFAULT. An additional ,1: its minimum ever
 *      is 0, as in v5.5.
 *
 * As in ESP-IDF, 36 bytes per heap are charged for its record: one block for all heaps whose lines come
 * before any other line, then one block for each region added later. Returns false and sets
 * heap_system_error() if the line fails.
 */
bool heap_system_boot_line(heap_system_t *system, const char *key, const char *value);

/* Address of the index-th block of the startup line with this name (main task: 0 is its stack, 1 its TCB);
 * 0 if there is none. */
uint32_t heap_system_boot_block(const heap_system_t *system, const char *name, uint32_t index);

/* The steps of heap_system_boot_line() as functions. add_heap is for regions known at reset, add_region for
 * regions added later. */
bool heap_system_add_heap(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type);
bool heap_system_add_region(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type);
bool heap_system_reserve_pool(heap_system_t *system, uint32_t size, bool default_caps, bool no_minimum);

/*
 * Adds a heap in a recorded state, without charging its record. blocks (address, size and used; in address
 * order) must fill the heap exactly. The heap becomes the first in search order, so start with the heap that
 * is searched last, and add the pool after the heap that contains it. Its minimum ever is the free size.
 */
bool heap_system_add_recorded(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type,
                              const heap_block_t *blocks, uint32_t count);

/* Type of the memory at an address of the ESP32; HEAP_TYPE_COUNT if it is in no memory region. */
heap_type_t heap_type_at(uint32_t address);
const char *heap_type_name(heap_type_t type);
bool heap_type_from_name(const char *name, heap_type_t *type);

/* Name of a capability bit, without MALLOC_CAP_; NULL if the bit has no name. */
const char *heap_cap_name(uint32_t bit);
/* Converts "INTERNAL,8BIT" to bits; false if a name is unknown. */
bool heap_caps_from_names(const char *names, uint32_t *caps);

/* --- Allocating: heap_caps_*_base of ESP-IDF; 0 is NULL --- */

uint32_t heap_system_malloc(heap_system_t *system, uint32_t size, uint32_t caps);
uint32_t heap_system_aligned_alloc(heap_system_t *system, uint32_t alignment, uint32_t size, uint32_t caps);
/* Copies the contents. Size 0 frees the block and returns 0. If the allocation fails, returns 0 and leaves
 * the old block unchanged. */
uint32_t heap_system_realloc(heap_system_t *system, uint32_t address, uint32_t size, uint32_t caps);
/* Address 0 is not an error. Unless the result is HEAP_OK, the heap is unchanged. */
heap_status_t heap_system_free(heap_system_t *system, uint32_t address);
/* The result that heap_system_free() would have, without freeing: HEAP_OK if a block in use starts at
 * address. address must not be 0. */
heap_status_t heap_system_status(heap_system_t *system, uint32_t address);
/* Size of the block in use at address, bytes; 0 if none starts there. */
uint32_t heap_system_allocated_size(heap_system_t *system, uint32_t address);

/*
 * First damage of the heap's structures that a call detected, such as an overwritten block header; NULL if
 * none. After that the statistics are invalid, and the caller should panic, as the chip would have done.
 */
const char *heap_system_fault(const heap_system_t *system);

/* --- Queries. Each takes constant time per heap, except walk and check. --- */

void heap_system_figures(const heap_system_t *system, uint32_t caps, heap_figures_t *figures);
uint32_t heap_system_total_size(const heap_system_t *system, uint32_t caps);

/* Heaps in search order: index 0 is searched first. */
uint32_t heap_system_count(const heap_system_t *system);
bool heap_system_describe(const heap_system_t *system, uint32_t index, heap_description_t *description,
                          heap_figures_t *figures);
/* Index of the heap that contains an address (the pool, not the heap around it); -1 if there is none. */
int heap_system_find(const heap_system_t *system, uint32_t address);

/* reset_minimum sets one heap's minimum to its free size and returns the old minimum; lower_minimum lowers
 * the minimum to a saved value. */
uint32_t heap_system_reset_minimum(heap_system_t *system, uint32_t index);
void heap_system_lower_minimum(heap_system_t *system, uint32_t index, uint32_t minimum);

/* Walks the heaps that have all of caps; MALLOC_CAP_INVALID: every heap. */
void heap_system_walk(heap_system_t *system, uint32_t caps, heap_walker_t walker, void *context);
/* Checks every header, list and counter. False: heap_system_fault() describes the first error. */
bool heap_system_check(heap_system_t *system, uint32_t caps);
bool heap_system_check_heap(heap_system_t *system, uint32_t index);

/* Host memory behind an address of a mapped region; NULL outside. */
void *heap_system_host(const heap_system_t *system, uint32_t address);

/* --- One heap alone, like multi_heap_* of ESP-IDF: no capabilities; index as in heap_system_describe --- */

uint32_t heap_single_malloc(heap_system_t *system, uint32_t index, uint32_t size);
uint32_t heap_single_aligned_alloc(heap_system_t *system, uint32_t index, uint32_t size, uint32_t alignment);
uint32_t heap_single_realloc(heap_system_t *system, uint32_t index, uint32_t address, uint32_t size);
heap_status_t heap_single_free(heap_system_t *system, uint32_t index, uint32_t address);

#ifdef __cplusplus
}
#endif
