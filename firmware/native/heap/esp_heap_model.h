/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The ESP32's heap, to the byte: TLSF blocks, heaps with capabilities, and the order in which ESP-IDF v5.4
 * searches them. No globals: a heap_system_t is one chip's heaps.
 *
 * Addresses are the chip's (32 bits). The backing memory is selected once per system: in the firmware
 * process the regions are mapped at these addresses, so a pointer is an address; elsewhere (the Python
 * binding) they are anywhere in host memory and heap_system_host() translates. Block headers are in that
 * memory, so that a buffer overrun damages them as on the chip; the heap's own control structure is kept
 * apart (but its size is charged).
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

#define HEAP_PRIORITIES 3 // capability sets per heap, tried in this order (SOC_MEMORY_TYPE_NO_PRIOS)
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
    HEAP_TYPE_POOL,      // the DMA pool since: with MALLOC_CAP_DEFAULT
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
    uint32_t address; // of the data, as malloc returned it
    uint32_t size;    // without the 4-byte header
    bool used;
} heap_block_t;

/* Called for each block; false continues with the next heap. */
typedef bool (*heap_walker_t)(const heap_block_t *block, void *context);

/* --- One system: setting up --- */

/* NULL only when the host has no memory. */
heap_system_t *heap_system_create(heap_backing_t backing);
void heap_system_destroy(heap_system_t *system);

/*
 * Reason for the last failed set-up call (those below that return bool), or "": one line with the cause and
 * the remedy. Valid until the next such call.
 */
const char *heap_system_error(const heap_system_t *system);

/*
 * One step of the chip's start, in the chip's order. The params file of the firmware process holds such
 * lines, and BoardProfile.boot_lines() writes them:
 *
 *   heap=0x3FFAE6E0,6432,DRAM          a region; DRAM, DIRAM, IRAM first, in the order in which they are
 * searched (v5.4: by address; v5.5: the smallest first), then SPIRAM startup=INTERNAL,8BIT:4096+352:main task
 * blocks taken before app_main, with a name free=main task                     that line's blocks given back,
 * the last one first pool=32768,0                       the DMA pool; 1: with MALLOC_CAP_DEFAULT; ,1 after
 * it: its minimum ever is 0, as v5.5 has it
 *
 * Records of 36 bytes per heap are charged as in ESP-IDF: one block for all heaps before the first other
 * line, then one per region added. False and heap_system_error() when a line fails.
 */
bool heap_system_boot_line(heap_system_t *system, const char *key, const char *value);

/* Address of the index-th block of the startup line with this name (main task: 0 its stack, 1 its TCB); 0 if
 * none. */
uint32_t heap_system_boot_block(const heap_system_t *system, const char *name, uint32_t index);

/* The same steps as calls. add_heap is for the regions known at reset, add_region for later ones.
 */
bool heap_system_add_heap(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type);
bool heap_system_add_region(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type);
bool heap_system_reserve_pool(heap_system_t *system, uint32_t size, bool default_caps, bool no_minimum);

/*
 * Add a heap in a recorded state, charging nothing: blocks (address, size and used; in address order) must
 * fill the heap exactly. It becomes the first one searched, so a system is added from the last searched on;
 * the pool comes after the heap around it. Minimum ever = free now.
 */
bool heap_system_add_recorded(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type,
                              const heap_block_t *blocks, uint32_t count);

/* Type of the memory at an address of the ESP32's map, or HEAP_TYPE_COUNT. */
heap_type_t heap_type_at(uint32_t address);
const char *heap_type_name(heap_type_t type);
bool heap_type_from_name(const char *name, heap_type_t *type);

/* Capability names without MALLOC_CAP_, by bit number; NULL when the bit has none. */
const char *heap_cap_name(uint32_t bit);
/* "INTERNAL,8BIT" to bits; false when a name is unknown. */
bool heap_caps_from_names(const char *names, uint32_t *caps);

/* --- Allocating: heap_caps_*_base of ESP-IDF; 0 is NULL --- */

uint32_t heap_system_malloc(heap_system_t *system, uint32_t size, uint32_t caps);
uint32_t heap_system_aligned_alloc(heap_system_t *system, uint32_t alignment, uint32_t size, uint32_t caps);
/* Size 0 frees and returns 0. When it returns 0 otherwise the old block is as before. Copies the contents. */
uint32_t heap_system_realloc(heap_system_t *system, uint32_t address, uint32_t size, uint32_t caps);
/* Address 0 is no error. Anything but HEAP_OK left the heap as it was. */
heap_status_t heap_system_free(heap_system_t *system, uint32_t address);
/* HEAP_OK when a block in use starts there; the result of heap_system_free, without freeing. Not for address
 * 0. */
heap_status_t heap_system_status(heap_system_t *system, uint32_t address);
/* 0 when no block in use starts there. */
uint32_t heap_system_allocated_size(heap_system_t *system, uint32_t address);

/*
 * First damage of the heap's own structures that a call detected (an overrun of a header, for example); NULL
 * if none. From then on the statistics are invalid: the chip would have crashed, and the caller should.
 */
const char *heap_system_fault(const heap_system_t *system);

/* --- Asking; each takes constant time per heap, except walk and check --- */

void heap_system_figures(const heap_system_t *system, uint32_t caps, heap_figures_t *figures);
uint32_t heap_system_total_size(const heap_system_t *system, uint32_t caps);

/* Heaps in search order: index 0 is searched first. */
uint32_t heap_system_count(const heap_system_t *system);
bool heap_system_describe(const heap_system_t *system, uint32_t index, heap_description_t *description,
                          heap_figures_t *figures);
/* Index of the heap that contains an address (the pool, not the heap around it), or -1. */
int heap_system_find(const heap_system_t *system, uint32_t address);

/* Set one heap's minimum to what is free now; returns the old one. Then lower it to a remembered value. */
uint32_t heap_system_reset_minimum(heap_system_t *system, uint32_t index);
void heap_system_lower_minimum(heap_system_t *system, uint32_t index, uint32_t minimum);

/* Heaps that have all of caps; MALLOC_CAP_INVALID means every heap. */
void heap_system_walk(heap_system_t *system, uint32_t caps, heap_walker_t walker, void *context);
/* Checks every header, list and counter; false: heap_system_fault() is the first error. */
bool heap_system_check(heap_system_t *system, uint32_t caps);
bool heap_system_check_heap(heap_system_t *system, uint32_t index);

/* Host memory behind an address of a mapped region; NULL outside. */
void *heap_system_host(const heap_system_t *system, uint32_t address);

/* --- One heap alone, as multi_heap_* of ESP-IDF: no capabilities; index as in heap_system_describe --- */

uint32_t heap_single_malloc(heap_system_t *system, uint32_t index, uint32_t size);
uint32_t heap_single_aligned_alloc(heap_system_t *system, uint32_t index, uint32_t size, uint32_t alignment);
uint32_t heap_single_realloc(heap_system_t *system, uint32_t index, uint32_t address, uint32_t size);
heap_status_t heap_single_free(heap_system_t *system, uint32_t index, uint32_t address);

#ifdef __cplusplus
}
#endif
