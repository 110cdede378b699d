/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tlsf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ALIGN 4u
#define MULTI_HEAP_RECORD 20u // sizeof(struct multi_heap_info) on the chip, at the start of the region
#define CONTROL_FIXED 36u     // sizeof(control_t) on the chip, without each first level's bitmap and lists
#define SPLIT_MIN (TLSF_BLOCK_MIN + TLSF_BLOCK_HEADER) // a remainder of this size becomes a separate block

#define FREE_BIT 1u
#define PREV_FREE_BIT 2u
#define FLAG_BITS (FREE_BIT | PREV_FREE_BIT)

#define BLOCK_SIZE_AT 4u
#define BLOCK_DATA_AT 8u
#define NEXT_FREE_AT 8u
#define PREV_FREE_AT 12u

/* Sizes and sums are 32 bits wide, so that they wrap as on the chip. alignment: a power of two. */
static uint32_t align_up(uint32_t value, uint32_t alignment)
{
    return (value + (alignment - 1)) & ~(alignment - 1);
}

static uint32_t log2_floor(uint32_t value)
{
    return 31u - (uint32_t)__builtin_clz(value);
}

static void report_damage(tlsf_heap_t *heap, const char *what, uint32_t address)
{
    if (heap->fault[0] == '\0') {
        snprintf(heap->fault, sizeof(heap->fault), "heap at 0x%08" PRIx32 ": %s at 0x%08" PRIx32, heap->start,
                 what, address);
    }
}

/* --- Words of the heap's memory --- */

/* Every access to headers goes through this function, so that a damaged link can't lead out of the heap. */
static uint32_t *word(tlsf_heap_t *heap, uint32_t address)
{
    if (address < heap->first || address > heap->sentinel + BLOCK_SIZE_AT || address % ALIGN != 0) {
        report_damage(heap, "link out of the heap", address);
        heap->scratch = 0;
        return &heap->scratch;
    }
    return (uint32_t *)(void *)(heap->host + (address - heap->start));
}

static uint32_t size_of(tlsf_heap_t *heap, uint32_t block)
{
    return *word(heap, block + BLOCK_SIZE_AT) & ~FLAG_BITS;
}

static bool has_flag(tlsf_heap_t *heap, uint32_t block, uint32_t flag)
{
    return (*word(heap, block + BLOCK_SIZE_AT) & flag) != 0;
}

static void set_flag(tlsf_heap_t *heap, uint32_t block, uint32_t flag, bool on)
{
    uint32_t *size = word(heap, block + BLOCK_SIZE_AT);
    *size = on ? *size | flag : *size & ~flag;
}

static void set_size(tlsf_heap_t *heap, uint32_t block, uint32_t size)
{
    uint32_t *field = word(heap, block + BLOCK_SIZE_AT);
    *field = size | (*field & FLAG_BITS);
}

static uint32_t block_above(tlsf_heap_t *heap, uint32_t block)
{
    return block + TLSF_BLOCK_HEADER + size_of(heap, block);
}

/* Marks a block free or used, both in its header and in that of the block above. */
static void set_free(tlsf_heap_t *heap, uint32_t block, bool is_free)
{
    uint32_t above = block_above(heap, block);
    set_flag(heap, block, FREE_BIT, is_free);
    set_flag(heap, above, PREV_FREE_BIT, is_free);
    if (is_free) {
        *word(heap, above) = block;
    }
}

/* --- Size classes --- */

static uint32_t small_limit(const tlsf_heap_t *heap)
{
    return ALIGN << heap->sl_log2;
}

/* Distance in bytes between the class of this size and the next. */
static uint32_t class_step(const tlsf_heap_t *heap, uint32_t size)
{
    return size < small_limit(heap) ? ALIGN : 1u << (log2_floor(size) - heap->sl_log2);
}

static void class_of(const tlsf_heap_t *heap, uint32_t size, uint32_t *fl, uint32_t *sl)
{
    if (size < small_limit(heap)) {
        *fl = 0;
        *sl = size / ALIGN;
    } else {
        uint32_t log2 = log2_floor(size);
        *fl = log2 - (heap->sl_log2 + 1);
        *sl = (size >> (log2 - heap->sl_log2)) - (1u << heap->sl_log2);
    }
}

/* Smallest block size for a request; 0 if no block can be that large. */
static uint32_t block_size_for(const tlsf_heap_t *heap, uint32_t request, uint32_t alignment)
{
    uint32_t size = align_up(request, alignment);
    if (request == 0 || size >= heap->block_limit) {
        return 0;
    }
    return size < TLSF_BLOCK_MIN ? TLSF_BLOCK_MIN : size;
}

/* --- Lists of free blocks --- */

static void list_insert(tlsf_heap_t *heap, uint32_t block)
{
    uint32_t fl, sl;
    class_of(heap, size_of(heap, block), &fl, &sl);
    if (fl >= heap->fl_count) {
        report_damage(heap, "impossible size of the block", block + BLOCK_DATA_AT);
        return;
    }
    uint32_t head = heap->heads[fl][sl];
    *word(heap, block + NEXT_FREE_AT) = head;
    *word(heap, block + PREV_FREE_AT) = heap->null;
    if (head != heap->null) {
        *word(heap, head + PREV_FREE_AT) = block;
    }
    heap->heads[fl][sl] = block;
    heap->fl_bitmap |= 1u << fl;
    heap->sl_bitmap[fl] |= 1u << sl;
    heap->free_blocks++;
}

static void list_remove(tlsf_heap_t *heap, uint32_t block)
{
    uint32_t fl, sl;
    class_of(heap, size_of(heap, block), &fl, &sl);
    if (fl >= heap->fl_count) {
        report_damage(heap, "impossible size of the free block", block + BLOCK_DATA_AT);
        return;
    }
    uint32_t next = *word(heap, block + NEXT_FREE_AT);
    uint32_t previous = *word(heap, block + PREV_FREE_AT);
    if (next != heap->null) {
        *word(heap, next + PREV_FREE_AT) = previous;
    }
    if (previous != heap->null) {
        *word(heap, previous + NEXT_FREE_AT) = next;
    }
    if (heap->heads[fl][sl] == block) {
        heap->heads[fl][sl] = next;
        if (next == heap->null) {
            heap->sl_bitmap[fl] &= ~(1u << sl);
            if (heap->sl_bitmap[fl] == 0) {
                heap->fl_bitmap &= ~(1u << fl);
            }
        }
    }
    heap->free_blocks--;
}

/*
 * Takes a free block of at least this size from its list. Rounds *size up to its class, and takes the head of
 * the first non-empty list at or above that class. Returns 0 if there is no such block.
 */
static uint32_t take_fit(tlsf_heap_t *heap, uint32_t *size)
{
    uint32_t fl, sl;
    if (*size == 0) {
        return 0;
    }
    *size = align_up(*size, class_step(heap, *size));
    class_of(heap, *size, &fl, &sl);
    if (fl >= heap->fl_count) {
        return 0; // the rounded size is above the largest class
    }
    uint32_t classes = heap->sl_bitmap[fl] & (UINT32_MAX << sl);
    if (classes == 0) {
        uint32_t levels = heap->fl_bitmap & (UINT32_MAX << (fl + 1));
        if (levels == 0) {
            return 0;
        }
        fl = (uint32_t)__builtin_ctz(levels);
        classes = heap->sl_bitmap[fl];
    }
    uint32_t block = heap->heads[fl][(uint32_t)__builtin_ctz(classes)];
    if (size_of(heap, block) < *size || !has_flag(heap, block, FREE_BIT)) {
        report_damage(heap, "overwritten header of the free block", block + BLOCK_DATA_AT);
        return 0;
    }
    list_remove(heap, block);
    return block;
}

/* --- Splitting and joining --- */

static bool can_split(tlsf_heap_t *heap, uint32_t block, uint32_t size)
{
    return size_of(heap, block) >= size + SPLIT_MIN;
}

/* Splits a block after `size` bytes of data. Returns the remainder, which has no flags yet and is in no
 * list. */
static uint32_t split(tlsf_heap_t *heap, uint32_t block, uint32_t size)
{
    uint32_t rest = block + TLSF_BLOCK_HEADER + size;
    *word(heap, rest + BLOCK_SIZE_AT) = size_of(heap, block) - size - TLSF_BLOCK_HEADER;
    set_size(heap, block, size);
    return rest;
}

/* Joins a block with the block above if that is free. The block must not be in a list. */
static void join_above(tlsf_heap_t *heap, uint32_t block)
{
    uint32_t above = block_above(heap, block);
    if (has_flag(heap, above, FREE_BIT)) {
        list_remove(heap, above);
        set_size(heap, block, size_of(heap, block) + TLSF_BLOCK_HEADER + size_of(heap, above));
    }
}

/* Splits off the bytes beyond `size`, and marks the block as used. The block must not be in a list. */
static void use(tlsf_heap_t *heap, uint32_t block, uint32_t size)
{
    set_free(heap, block, false);
    if (can_split(heap, block, size)) {
        uint32_t rest = split(heap, block, size);
        join_above(heap, rest);
        set_free(heap, rest, true);
        list_insert(heap, rest);
    }
}

/* --- Accounting --- */

static void charge(tlsf_heap_t *heap, uint32_t bytes)
{
    heap->free_bytes -= bytes;
    if (heap->free_bytes < heap->minimum_free_bytes) {
        heap->minimum_free_bytes = heap->free_bytes;
    }
}

static uint32_t use_new(tlsf_heap_t *heap, uint32_t block, uint32_t size)
{
    use(heap, block, size);
    heap->used_blocks++;
    charge(heap, size_of(heap, block) + TLSF_BLOCK_HEADER);
    return block + BLOCK_DATA_AT;
}

/* --- Interface --- */

bool tlsf_init(tlsf_heap_t *heap, uint32_t start, uint32_t length, uint8_t *host)
{
    if (start % ALIGN != 0 || length < MULTI_HEAP_RECORD + CONTROL_FIXED || length > TLSF_MAX_LENGTH) {
        return false;
    }
    uint32_t bytes = length - MULTI_HEAP_RECORD;
    uint32_t fl_max = log2_floor(bytes) + 1;
    uint32_t sl_log2 = bytes <= 16 * 1024 ? 3 : bytes <= 256 * 1024 ? 4 : 5;
    uint32_t fl_count = fl_max - (sl_log2 + 2) + 1;
    uint32_t control_size = CONTROL_FIXED + 4 * fl_count * (1 + (1u << sl_log2));
    if (bytes < control_size + 2 * TLSF_BLOCK_HEADER + TLSF_BLOCK_MIN) {
        return false;
    }
    memset(heap, 0, sizeof(*heap));
    heap->start = start;
    heap->length = length;
    heap->host = host;
    heap->control_size = control_size;
    heap->null = start + MULTI_HEAP_RECORD;
    heap->block_limit = 1u << fl_max;
    heap->sl_log2 = sl_log2;
    heap->fl_count = fl_count;
    for (uint32_t fl = 0; fl < TLSF_FIRST_LEVEL; fl++) {
        for (uint32_t sl = 0; sl < TLSF_SECOND_LEVEL; sl++) {
            heap->heads[fl][sl] = heap->null;
        }
    }
    uint32_t size = (bytes - control_size - 2 * TLSF_BLOCK_HEADER) & ~(ALIGN - 1);
    heap->first = start + MULTI_HEAP_RECORD + control_size - TLSF_BLOCK_HEADER;
    heap->sentinel = heap->first + TLSF_BLOCK_HEADER + size;
    *word(heap, heap->first + BLOCK_SIZE_AT) = size;
    *word(heap, heap->sentinel + BLOCK_SIZE_AT) = 0;
    set_free(heap, heap->first, true);
    list_insert(heap, heap->first);
    heap->free_bytes = bytes - control_size; // as on the chip, the two headers and odd bytes count as free
    heap->minimum_free_bytes = heap->free_bytes;
    return true;
}

bool tlsf_restore(tlsf_heap_t *heap, const heap_block_t *blocks, uint32_t count)
{
    uint64_t next = heap->first;
    for (uint32_t i = 0; i < count; i++) {
        bool two_free = i > 0 && !blocks[i].used && !blocks[i - 1].used;
        if (blocks[i].address != next + BLOCK_DATA_AT || blocks[i].size < TLSF_BLOCK_MIN ||
            blocks[i].size % ALIGN != 0 || two_free) {
            return false;
        }
        next += (uint64_t)TLSF_BLOCK_HEADER + blocks[i].size;
        if (next > heap->sentinel) {
            return false;
        }
    }
    if (next != heap->sentinel) {
        return false;
    }
    list_remove(heap, heap->first);
    for (uint32_t i = 0; i < count; i++) {
        *word(heap, blocks[i].address - BLOCK_DATA_AT + BLOCK_SIZE_AT) = blocks[i].size;
    }
    *word(heap, heap->sentinel + BLOCK_SIZE_AT) = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block = blocks[i].address - BLOCK_DATA_AT;
        if (blocks[i].used) {
            heap->used_blocks++;
            heap->free_bytes -= blocks[i].size + TLSF_BLOCK_HEADER;
        } else {
            set_free(heap, block, true);
            list_insert(heap, block);
        }
    }
    heap->minimum_free_bytes = heap->free_bytes;
    return true;
}

uint32_t tlsf_malloc(tlsf_heap_t *heap, uint32_t size)
{
    uint32_t needed = block_size_for(heap, size, ALIGN);
    uint32_t block = take_fit(heap, &needed);
    return block == 0 ? 0 : use_new(heap, block, needed);
}

uint32_t tlsf_memalign(tlsf_heap_t *heap, uint32_t alignment, uint32_t size)
{
    /* The memory below the aligned address must be large enough for a separate block, or empty. */
    const uint32_t gap_min = SPLIT_MIN;
    uint32_t needed = block_size_for(heap, size, ALIGN);
    uint32_t room = needed;
    if (needed != 0 && alignment > ALIGN) {
        room = block_size_for(heap, needed + alignment + gap_min, alignment);
    }
    uint32_t block = take_fit(heap, &room);
    if (block == 0) {
        return 0;
    }
    uint32_t data = block + BLOCK_DATA_AT;
    uint32_t aligned = align_up(data, alignment);
    uint32_t gap = aligned - data;
    if (gap != 0 && gap < gap_min) {
        uint32_t missing = gap_min - gap;
        aligned = align_up(aligned + (missing > alignment ? missing : alignment), alignment);
        gap = aligned - data;
    }
    if (gap != 0 && can_split(heap, block, gap)) {
        uint32_t below = block;
        block = split(heap, below, gap - TLSF_BLOCK_HEADER);
        set_free(heap, below, true);
        list_insert(heap, below);
    }
    /* Unlike malloc, the kept size is not rounded up to a class. */
    return use_new(heap, block, needed);
}

heap_status_t tlsf_used_block(tlsf_heap_t *heap, uint32_t address, uint32_t *size)
{
    uint32_t block = address - BLOCK_DATA_AT;
    if (address % ALIGN != 0 || block < heap->first || block >= heap->sentinel) {
        return HEAP_DAMAGED;
    }
    *size = size_of(heap, block);
    if (*size < TLSF_BLOCK_MIN || *size > heap->sentinel - block - TLSF_BLOCK_HEADER) {
        return HEAP_DAMAGED;
    }
    if (has_flag(heap, block, FREE_BIT)) {
        return HEAP_ALREADY_FREE;
    }
    return has_flag(heap, block_above(heap, block), PREV_FREE_BIT) ? HEAP_DAMAGED : HEAP_OK;
}

heap_status_t tlsf_free(tlsf_heap_t *heap, uint32_t address)
{
    uint32_t size;
    heap_status_t status = tlsf_used_block(heap, address, &size);
    if (status != HEAP_OK) {
        return status;
    }
    uint32_t block = address - BLOCK_DATA_AT;
    uint32_t freed = size + TLSF_BLOCK_HEADER;
    if (has_flag(heap, block, PREV_FREE_BIT)) {
        uint32_t below = *word(heap, block);
        if (!has_flag(heap, below, FREE_BIT) || block_above(heap, below) != block) {
            report_damage(heap, "overwritten link below the block", address);
            return HEAP_DAMAGED;
        }
        list_remove(heap, below);
        set_size(heap, below, size_of(heap, below) + freed);
        block = below;
    }
    heap->free_bytes += freed;
    heap->used_blocks--;
    join_above(heap, block);
    set_free(heap, block, true);
    list_insert(heap, block);
    return HEAP_OK;
}

uint32_t tlsf_realloc(tlsf_heap_t *heap, uint32_t address, uint32_t size)
{
    uint32_t old_size;
    uint32_t needed = block_size_for(heap, size, ALIGN);
    if (needed == 0 || tlsf_used_block(heap, address, &old_size) != HEAP_OK) {
        return 0;
    }
    uint32_t block = address - BLOCK_DATA_AT;
    uint32_t above = block_above(heap, block);
    if (needed > old_size) {
        bool room_above =
            has_flag(heap, above, FREE_BIT) && old_size + TLSF_BLOCK_HEADER + size_of(heap, above) >= needed;
        if (!room_above) {
            /*
             * multi_heap counts this as one step: it credits the old block before it charges the new one, so
             * the minimum never includes both.
             */
            uint32_t minimum = heap->minimum_free_bytes;
            uint32_t moved = tlsf_malloc(heap, size);
            if (moved == 0) {
                return 0;
            }
            memcpy(heap->host + (moved - heap->start), heap->host + (address - heap->start),
                   old_size < size ? old_size : size);
            tlsf_free(heap, address);
            heap->minimum_free_bytes = minimum;
            charge(heap, 0);
            return moved;
        }
        join_above(heap, block);
    }
    heap->free_bytes += old_size;
    use(heap, block, needed);
    charge(heap, size_of(heap, block));
    return address;
}

void tlsf_figures(const tlsf_heap_t *heap, heap_figures_t *figures)
{
    /* Sizes are rounded down to their class, so the highest non-empty list determines the result. */
    uint32_t largest = 0;
    if (heap->fl_bitmap != 0) {
        uint32_t fl = log2_floor(heap->fl_bitmap);
        uint32_t sl = log2_floor(heap->sl_bitmap[fl]);
        largest = fl == 0 ? sl * ALIGN : ((1u << heap->sl_log2) + sl) << (fl + 1);
    }
    figures->free_bytes = heap->free_bytes;
    figures->allocated_bytes = heap->length - MULTI_HEAP_RECORD - heap->control_size - heap->free_bytes -
                               heap->used_blocks * TLSF_BLOCK_HEADER;
    figures->largest_free_block = largest;
    figures->minimum_free_bytes = heap->minimum_free_bytes;
    figures->allocated_blocks = heap->used_blocks;
    figures->free_blocks = heap->free_blocks;
    figures->total_blocks = heap->used_blocks + heap->free_blocks;
}

void tlsf_walk(tlsf_heap_t *heap, heap_walker_t walker, void *context)
{
    uint32_t block = heap->first;
    while (block < heap->sentinel) {
        heap_block_t info = {
            .heap_start = heap->start,
            .heap_end = heap->start + heap->length,
            .address = block + BLOCK_DATA_AT,
            .size = size_of(heap, block),
            .used = !has_flag(heap, block, FREE_BIT),
        };
        if (info.size < TLSF_BLOCK_MIN || info.size > heap->sentinel - block - TLSF_BLOCK_HEADER) {
            report_damage(heap, "impossible size of the block", info.address);
            return;
        }
        if (!walker(&info, context)) {
            return;
        }
        block = block_above(heap, block);
    }
}

typedef struct {
    tlsf_heap_t *heap;
    bool below_free;
    uint32_t used_blocks;
    uint32_t free_blocks;
    uint32_t used_bytes;
} check_t;

static bool check_block(const heap_block_t *info, void *context)
{
    check_t *check = context;
    tlsf_heap_t *heap = check->heap;
    uint32_t block = info->address - BLOCK_DATA_AT;
    if (has_flag(heap, block, PREV_FREE_BIT) != check->below_free) {
        report_damage(heap, "wrong flag of the block", info->address);
    }
    if (!info->used && check->below_free) {
        report_damage(heap, "two free blocks side by side", info->address);
    }
    if (!info->used && *word(heap, block_above(heap, block)) != block) {
        report_damage(heap, "wrong link above the free block", info->address);
    }
    check->below_free = !info->used;
    if (info->used) {
        check->used_blocks++;
        check->used_bytes += info->size + TLSF_BLOCK_HEADER;
    } else {
        check->free_blocks++;
    }
    return heap->fault[0] == '\0';
}

/* Checks that every list contains only free blocks of its class, linked in both directions. Returns the
 * number of blocks in all lists. */
static uint32_t check_lists(tlsf_heap_t *heap)
{
    uint32_t listed = 0;
    for (uint32_t fl = 0; fl < heap->fl_count; fl++) {
        for (uint32_t sl = 0; sl < 1u << heap->sl_log2; sl++) {
            uint32_t previous = heap->null;
            for (uint32_t block = heap->heads[fl][sl]; block != heap->null && heap->fault[0] == '\0';) {
                uint32_t block_fl, block_sl;
                class_of(heap, size_of(heap, block), &block_fl, &block_sl);
                if (!has_flag(heap, block, FREE_BIT) || block_fl != fl || block_sl != sl ||
                    *word(heap, block + PREV_FREE_AT) != previous || ++listed > heap->free_blocks) {
                    report_damage(heap, "overwritten free block", block + BLOCK_DATA_AT);
                }
                previous = block;
                block = *word(heap, block + NEXT_FREE_AT);
            }
        }
    }
    return listed;
}

bool tlsf_check(tlsf_heap_t *heap)
{
    check_t check = {.heap = heap};
    tlsf_walk(heap, check_block, &check);
    if (heap->fault[0] == '\0') {
        uint32_t listed = check_lists(heap);
        uint32_t all = heap->length - MULTI_HEAP_RECORD - heap->control_size;
        if (heap->fault[0] == '\0' &&
            (listed != check.free_blocks || check.free_blocks != heap->free_blocks ||
             check.used_blocks != heap->used_blocks || all - check.used_bytes != heap->free_bytes)) {
            report_damage(heap, "blocks that don't add up, first", heap->first + BLOCK_DATA_AT);
        }
    }
    return heap->fault[0] == '\0';
}
