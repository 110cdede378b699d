/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A system of heaps: ESP-IDF's search order, its rules about capabilities, and its bookkeeping.
 */
#include "heap_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * D/IRAM is accessible at DIRAM_DATA by the data bus and at DIRAM_CODE by the instruction bus, there in
 * reverse word order (soc/esp32: SOC_DIRAM_*, SOC_DIRAM_INVERTED). An EXEC allocation returns the address on
 * the instruction bus. Host memory can't be mirrored like this, so that alias has separate memory.
 */
#define DIRAM_DATA_END 0x40000000u
#define DIRAM_CODE_START 0x400A0000u
#define DIRAM_CODE_END 0x400C0000u

#define UNALIGNED 4u // alignment of every block

/* --- Setting up --- */

bool heap_fail(heap_system_t *system, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(system->error, sizeof(system->error), format, arguments);
    va_end(arguments);
    return false;
}

heap_system_t *heap_system_create(heap_backing_t backing)
{
    heap_system_t *system = calloc(1, sizeof(*system));
    if (system != NULL) {
        system->map.backing = backing;
    }
    return system;
}

void heap_system_destroy(heap_system_t *system)
{
    if (system == NULL) {
        return;
    }
    for (uint32_t i = 0; i < system->count; i++) {
        free(system->heaps[i]);
    }
    memory_map_free(&system->map);
    free(system);
}

const char *heap_system_error(const heap_system_t *system)
{
    return system->error;
}

static uint32_t end_of(const heap_t *heap)
{
    return heap->tlsf.start + heap->tlsf.length;
}

/* The heap that conflicts with a new region, or NULL. As in ESP-IDF, a region may lie inside a heap (the
 * pool), but it must not extend beyond that heap or equal it. */
static const heap_t *find_clash(const heap_system_t *system, uint32_t start, uint32_t end)
{
    for (uint32_t i = 0; i < system->count; i++) {
        uint32_t other = system->heaps[i]->tlsf.start;
        uint32_t other_end = end_of(system->heaps[i]);
        bool below = start < other && end > other;
        bool above = start < other_end && end > other_end;
        bool same = start == other && end == other_end;
        if (below || above || same) {
            return system->heaps[i];
        }
    }
    return NULL;
}

/* Provides host memory for a region: new memory, or part of the enclosing heap's. */
static bool give_memory(heap_system_t *system, uint32_t start, uint32_t length)
{
    if (heap_system_find(system, start) >= 0) {
        return true;
    }
    if (!memory_map_add(&system->map, start, length, system->error, sizeof(system->error))) {
        return false;
    }
    if (heap_type_is_aliased(heap_type_at(start)) &&
        memory_map_host(&system->map, DIRAM_CODE_START) == NULL) {
        return memory_map_add(&system->map, DIRAM_CODE_START, DIRAM_CODE_END - DIRAM_CODE_START,
                              system->error, sizeof(system->error));
    }
    return true;
}

static heap_t *new_heap(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type)
{
    system->error[0] = '\0';
    if ((unsigned)type >= HEAP_TYPE_COUNT) {
        heap_fail(system, "heap at 0x%08" PRIx32 ": unknown memory type %d", start, (int)type);
        return NULL;
    }
    if (system->count == HEAP_MAX_HEAPS) {
        heap_fail(system, "heap at 0x%08" PRIx32 ": more than %d heaps (raise HEAP_MAX_HEAPS)", start,
                  HEAP_MAX_HEAPS);
        return NULL;
    }
    if (start == 0 || length == 0 || start + length < start) {
        heap_fail(system, "heap at 0x%08" PRIx32 ": impossible length %" PRIu32, start, length);
        return NULL;
    }
    const heap_t *clash = find_clash(system, start, start + length);
    if (clash != NULL) {
        heap_fail(system,
                  "heap 0x%08" PRIx32 " to 0x%08" PRIx32 " overlaps the heap 0x%08" PRIx32 " to 0x%08" PRIx32
                  " (correct one of the two)",
                  start, start + length - 1, clash->tlsf.start, end_of(clash) - 1);
        return NULL;
    }
    if (!give_memory(system, start, length)) {
        return NULL;
    }
    heap_t *heap = calloc(1, sizeof(*heap));
    if (heap == NULL) {
        heap_fail(system, "heap at 0x%08" PRIx32 ": the host is out of memory", start);
        return NULL;
    }
    heap->type = type;
    if (!tlsf_init(&heap->tlsf, start, length, memory_map_host(&system->map, start))) {
        heap_fail(system,
                  "heap at 0x%08" PRIx32 ": cannot be made with a length of %" PRIu32
                  " (give a start that is a multiple of 4 and a length of about 250 bytes to 4 MB)",
                  start, length);
        free(heap);
        return NULL;
    }
    return heap;
}

static void insert_heap(heap_system_t *system, heap_t *heap, uint32_t index)
{
    memmove(&system->heaps[index + 1], &system->heaps[index],
            (system->count - index) * sizeof(system->heaps[0]));
    system->heaps[index] = heap;
    system->count++;
}

bool heap_system_add_heap(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type)
{
    if (system->recorded) {
        return heap_fail(
            system, "heap at 0x%08" PRIx32 ": heaps known at reset must be added before the first allocation",
            start);
    }
    heap_t *heap = new_heap(system, start, length, type);
    if (heap == NULL) {
        return false;
    }
    insert_heap(system, heap, system->count);
    return true;
}

bool heap_record_reset_heaps(heap_system_t *system)
{
    if (system->recorded) {
        return true;
    }
    uint32_t size = HEAP_RECORD_SIZE * system->count;
    uint32_t wanted = MALLOC_CAP_8BIT | MALLOC_CAP_INTERNAL;
    for (uint32_t i = 0; i < system->count; i++) {
        bool matches = (heap_type_all_caps(system->heaps[i]->type) & wanted) == wanted;
        if (matches && tlsf_malloc(&system->heaps[i]->tlsf, size) != 0) {
            system->recorded = true;
            return true;
        }
    }
    return heap_fail(system,
                     "no internal heap has room for the %" PRIu32 " heaps' records (%" PRIu32 " bytes)",
                     system->count, size);
}

bool heap_system_add_region(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type)
{
    if (!heap_record_reset_heaps(system)) {
        return false;
    }
    heap_t *heap = new_heap(system, start, length, type);
    if (heap == NULL) {
        return false;
    }
    if (heap_system_malloc(system, HEAP_RECORD_SIZE, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT) == 0) {
        free(heap);
        return heap_fail(system, "heap at 0x%08" PRIx32 ": no internal memory left for its record", start);
    }
    insert_heap(system, heap, 0);
    return true;
}

bool heap_system_reserve_pool(heap_system_t *system, uint32_t size, bool default_caps, bool no_minimum)
{
    const uint32_t caps = MALLOC_CAP_DMA | MALLOC_CAP_INTERNAL;
    if (!heap_record_reset_heaps(system)) {
        return false;
    }
    /* As in ESP-IDF, the pool is split if no single block is large enough; each resulting heap is one byte
     * shorter than the block it occupies. */
    while (size > 0) {
        heap_figures_t figures;
        heap_system_figures(system, caps, &figures);
        uint32_t piece = figures.largest_free_block < size ? figures.largest_free_block : size;
        uint32_t address = heap_system_malloc(system, piece, caps);
        if (address == 0) {
            return heap_fail(
                system, "no DMA memory for the last %" PRIu32 " bytes of the pool (make it smaller)", size);
        }
        if (!heap_system_add_region(system, address, piece - 1,
                                    default_caps ? HEAP_TYPE_POOL : HEAP_TYPE_POOL_V542)) {
            return false;
        }
        if (no_minimum) {
            heap_system_lower_minimum(system, 0, 0);
        }
        size -= piece;
    }
    return true;
}

bool heap_system_add_recorded(heap_system_t *system, uint32_t start, uint32_t length, heap_type_t type,
                              const heap_block_t *blocks, uint32_t count)
{
    heap_t *heap = new_heap(system, start, length, type);
    if (heap == NULL) {
        return false;
    }
    if (!tlsf_restore(&heap->tlsf, blocks, count)) {
        uint32_t first = heap->tlsf.first + 8;
        free(heap);
        return heap_fail(system,
                         "heap at 0x%08" PRIx32 ": its %" PRIu32
                         " recorded blocks don't fill it from 0x%08" PRIx32
                         " to its end (each must begin 4 bytes after the end of the block below)",
                         start, count, first);
    }
    insert_heap(system, heap, 0);
    system->recorded = true;
    return true;
}

/* --- Finding --- */

int heap_system_find(const heap_system_t *system, uint32_t address)
{
    /* The pool is inside another heap, so take the smaller of the two. */
    int found = -1;
    for (uint32_t i = 0; i < system->count; i++) {
        const heap_t *heap = system->heaps[i];
        bool inside = address >= heap->tlsf.start && address < end_of(heap);
        if (inside && (found < 0 || heap->tlsf.length < system->heaps[found]->tlsf.length)) {
            found = (int)i;
        }
    }
    return found;
}

static heap_t *containing_heap(const heap_system_t *system, uint32_t address)
{
    int index = heap_system_find(system, address);
    return index < 0 ? NULL : system->heaps[index];
}

void *heap_system_host(const heap_system_t *system, uint32_t address)
{
    return memory_map_host(&system->map, address);
}

uint32_t heap_system_count(const heap_system_t *system)
{
    return system->count;
}

static bool has_caps(const heap_t *heap, uint32_t caps)
{
    return (heap_type_all_caps(heap->type) & caps) == caps;
}

/* --- EXEC memory in D/IRAM --- */

static bool is_code_alias(uint32_t address)
{
    return address >= DIRAM_CODE_START && address < DIRAM_CODE_END;
}

/* Data address of the note: the word before an alias, which contains the block's address. The mapping is its
 * own inverse. */
static uint32_t alias_note(uint32_t alias)
{
    return DIRAM_CODE_START + DIRAM_DATA_END - alias;
}

/* Stores the block's address as the note in its last word (seen by the data bus), which is the word before
 * the alias (seen by the instruction bus), and returns the alias. The block must have room for `size` bytes
 * and the note. */
static uint32_t to_alias(heap_system_t *system, uint32_t data, uint32_t size)
{
    uint32_t note = data + size;
    uint32_t alias = alias_note(note);
    memcpy(heap_system_host(system, note), &data, sizeof(data));
    memcpy(heap_system_host(system, alias - sizeof(data)), &data, sizeof(data));
    return alias;
}

/* Block address of `address`; 0 if `address` is an alias and its note is not an address in D/IRAM. */
static uint32_t from_alias(const heap_system_t *system, uint32_t address)
{
    if (!is_code_alias(address)) {
        return address;
    }
    uint32_t data = 0;
    const void *note = heap_system_host(system, alias_note(address));
    if (note != NULL) {
        memcpy(&data, note, sizeof(data));
    }
    const heap_t *heap = containing_heap(system, data);
    return heap != NULL && heap_type_is_aliased(heap->type) ? data : 0;
}

/* --- Allocating --- */

/* ESP-IDF's esp_heap_adjust_alignment_to_hw() for the ESP32: its caches and DMA need only word alignment. */
static void adjust_to_hardware(uint32_t *alignment, uint32_t *size, uint32_t *caps)
{
    const uint32_t descriptors = MALLOC_CAP_DMA_DESC_AHB | MALLOC_CAP_DMA_DESC_AXI;
    if ((*caps & (MALLOC_CAP_DMA | descriptors | MALLOC_CAP_CACHE_ALIGNED | MALLOC_CAP_SIMD)) == 0) {
        return;
    }
    if (*alignment < UNALIGNED) {
        *alignment = UNALIGNED;
    }
    *size = (*size + (*alignment - 1)) & ~(*alignment - 1);
    if (*caps & descriptors) {
        *caps = (*caps & ~descriptors) | MALLOC_CAP_DMA;
    }
    if (*caps & MALLOC_CAP_SPIRAM) {
        *caps &=
            ~(uint32_t)MALLOC_CAP_DMA; // as in ESP-IDF: DMA can't access the result, and no error is reported
    }
    *caps &= ~(uint32_t)MALLOC_CAP_CACHE_ALIGNED;
}

static uint32_t allocate_in(heap_t *heap, uint32_t size, uint32_t alignment)
{
    return alignment <= UNALIGNED ? tlsf_malloc(&heap->tlsf, size)
                                  : tlsf_memalign(&heap->tlsf, alignment, size);
}

static uint32_t allocate(heap_system_t *system, uint32_t alignment, uint32_t size, uint32_t caps)
{
    adjust_to_hardware(&alignment, &size, &caps);
    if (size == 0 || size > TLSF_MAX_LENGTH) {
        return 0;
    }
    if (caps & MALLOC_CAP_EXEC) {
        if (caps & (MALLOC_CAP_8BIT | MALLOC_CAP_DMA)) {
            return 0;
        }
        caps |= MALLOC_CAP_32BIT;
    }
    if (caps & MALLOC_CAP_32BIT) {
        size = (size + 3) & ~3u;
    }
    for (int priority = 0; priority < HEAP_PRIORITIES; priority++) {
        for (uint32_t i = 0; i < system->count; i++) {
            heap_t *heap = system->heaps[i];
            if ((heap_type_caps(heap->type)[priority] & caps) == 0 || !has_caps(heap, caps)) {
                continue;
            }
            bool aliased = (caps & MALLOC_CAP_EXEC) && heap_type_is_aliased(heap->type);
            uint32_t address = allocate_in(heap, aliased ? size + 4 : size, alignment);
            if (address != 0) {
                return aliased ? to_alias(system, address, size) : address;
            }
        }
    }
    return 0;
}

uint32_t heap_system_malloc(heap_system_t *system, uint32_t size, uint32_t caps)
{
    return allocate(system, UNALIGNED, size, caps);
}

uint32_t heap_system_aligned_alloc(heap_system_t *system, uint32_t alignment, uint32_t size, uint32_t caps)
{
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || size == 0 || size > TLSF_MAX_LENGTH) {
        return 0;
    }
    return allocate(system, alignment, size, caps);
}

heap_status_t heap_system_status(heap_system_t *system, uint32_t address)
{
    uint32_t size;
    uint32_t data = from_alias(system, address);
    heap_t *heap = containing_heap(system, data);
    return heap == NULL ? HEAP_OUTSIDE : tlsf_used_block(&heap->tlsf, data, &size);
}

heap_status_t heap_system_free(heap_system_t *system, uint32_t address)
{
    if (address == 0) {
        return HEAP_OK;
    }
    uint32_t data = from_alias(system, address);
    heap_t *heap = containing_heap(system, data);
    return heap == NULL ? HEAP_OUTSIDE : tlsf_free(&heap->tlsf, data);
}

uint32_t heap_system_allocated_size(heap_system_t *system, uint32_t address)
{
    uint32_t size = 0;
    heap_t *heap = containing_heap(system, address);
    if (heap == NULL || tlsf_used_block(&heap->tlsf, address, &size) != HEAP_OK) {
        return 0;
    }
    return size;
}

uint32_t heap_system_realloc(heap_system_t *system, uint32_t address, uint32_t size, uint32_t caps)
{
    uint32_t alignment = UNALIGNED;
    adjust_to_hardware(&alignment, &size, &caps);
    if (address == 0) {
        return allocate(system, alignment, size, caps);
    }
    if (size == 0) {
        heap_system_free(system, address);
        return 0;
    }
    if (size > TLSF_MAX_LENGTH) {
        return 0;
    }
    uint32_t data = from_alias(system, address);
    uint32_t old_size = heap_system_allocated_size(system, data);
    if (old_size == 0) {
        return 0;
    }
    heap_t *heap = containing_heap(system, data);
    if (has_caps(heap, caps) && !is_code_alias(address)) {
        uint32_t resized = tlsf_realloc(&heap->tlsf, address, size);
        if (resized != 0) {
            return resized;
        }
    }
    uint32_t moved = allocate(system, alignment, size, caps);
    if (moved == 0) {
        return 0;
    }
    memcpy(heap_system_host(system, moved), heap_system_host(system, address),
           old_size < size ? old_size : size);
    heap_system_free(system, address);
    return moved;
}

/* --- Queries --- */

const char *heap_system_fault(const heap_system_t *system)
{
    for (uint32_t i = 0; i < system->count; i++) {
        if (system->heaps[i]->tlsf.fault[0] != '\0') {
            return system->heaps[i]->tlsf.fault;
        }
    }
    return NULL;
}

void heap_system_figures(const heap_system_t *system, uint32_t caps, heap_figures_t *figures)
{
    memset(figures, 0, sizeof(*figures));
    for (uint32_t i = 0; i < system->count; i++) {
        if (!has_caps(system->heaps[i], caps)) {
            continue;
        }
        heap_figures_t one;
        tlsf_figures(&system->heaps[i]->tlsf, &one);
        figures->free_bytes += one.free_bytes;
        figures->allocated_bytes += one.allocated_bytes;
        figures->minimum_free_bytes += one.minimum_free_bytes;
        figures->allocated_blocks += one.allocated_blocks;
        figures->free_blocks += one.free_blocks;
        figures->total_blocks += one.total_blocks;
        if (one.largest_free_block > figures->largest_free_block) {
            figures->largest_free_block = one.largest_free_block;
        }
    }
}

uint32_t heap_system_total_size(const heap_system_t *system, uint32_t caps)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < system->count; i++) {
        if (has_caps(system->heaps[i], caps)) {
            total += system->heaps[i]->tlsf.length;
        }
    }
    return total;
}

bool heap_system_describe(const heap_system_t *system, uint32_t index, heap_description_t *description,
                          heap_figures_t *figures)
{
    if (index >= system->count) {
        return false;
    }
    const heap_t *heap = system->heaps[index];
    description->start = heap->tlsf.start;
    description->length = heap->tlsf.length;
    description->type = heap->type;
    memcpy(description->caps, heap_type_caps(heap->type), sizeof(description->caps));
    tlsf_figures(&heap->tlsf, figures);
    return true;
}

uint32_t heap_system_reset_minimum(heap_system_t *system, uint32_t index)
{
    if (index >= system->count) {
        return 0;
    }
    tlsf_heap_t *heap = &system->heaps[index]->tlsf;
    uint32_t old = heap->minimum_free_bytes;
    heap->minimum_free_bytes = heap->free_bytes;
    return old;
}

void heap_system_lower_minimum(heap_system_t *system, uint32_t index, uint32_t minimum)
{
    if (index < system->count && minimum < system->heaps[index]->tlsf.minimum_free_bytes) {
        system->heaps[index]->tlsf.minimum_free_bytes = minimum;
    }
}

static bool is_meant(const heap_t *heap, uint32_t caps)
{
    return (caps & MALLOC_CAP_INVALID) || has_caps(heap, caps);
}

void heap_system_walk(heap_system_t *system, uint32_t caps, heap_walker_t walker, void *context)
{
    for (uint32_t i = 0; i < system->count; i++) {
        if (is_meant(system->heaps[i], caps)) {
            tlsf_walk(&system->heaps[i]->tlsf, walker, context);
        }
    }
}

bool heap_system_check_heap(heap_system_t *system, uint32_t index)
{
    return index < system->count && tlsf_check(&system->heaps[index]->tlsf);
}

bool heap_system_check(heap_system_t *system, uint32_t caps)
{
    bool valid = true;
    for (uint32_t i = 0; i < system->count; i++) {
        if (is_meant(system->heaps[i], caps)) {
            valid = tlsf_check(&system->heaps[i]->tlsf) && valid;
        }
    }
    return valid;
}

/* --- One heap alone --- */

uint32_t heap_single_malloc(heap_system_t *system, uint32_t index, uint32_t size)
{
    return index < system->count ? tlsf_malloc(&system->heaps[index]->tlsf, size) : 0;
}

uint32_t heap_single_aligned_alloc(heap_system_t *system, uint32_t index, uint32_t size, uint32_t alignment)
{
    if (index >= system->count || alignment == 0 || (alignment & (alignment - 1)) != 0) {
        return 0;
    }
    return tlsf_memalign(&system->heaps[index]->tlsf, alignment, size);
}

uint32_t heap_single_realloc(heap_system_t *system, uint32_t index, uint32_t address, uint32_t size)
{
    if (index >= system->count || size == 0) {
        return 0;
    }
    tlsf_heap_t *heap = &system->heaps[index]->tlsf;
    return address == 0 ? tlsf_malloc(heap, size) : tlsf_realloc(heap, address, size);
}

heap_status_t heap_single_free(heap_system_t *system, uint32_t index, uint32_t address)
{
    if (address == 0) {
        return HEAP_OK;
    }
    return index < system->count ? tlsf_free(&system->heaps[index]->tlsf, address) : HEAP_OUTSIDE;
}
