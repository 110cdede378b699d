/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "heap_hold.h"

#include "esp_heap_caps.h"
#include "heap_fail.h"

/* Block sizes of the allocator, ESP-IDF v5.4 and v5.5 (TLSF, 32 bit): multiples of 4, at least 12; each block
 * has a header of 4 bytes. Requests are rounded up to one of 8, 16 or 32 steps per power of two, depending on
 * the heap's length. A multiple of the coarsest step is never rounded up, in any heap. */
#define BLOCK_HEADER 4
#define BLOCK_MIN 12
#define BLOCK_COST_MIN (BLOCK_MIN + BLOCK_HEADER)
#define STEPS_PER_POWER 8

/* Largest of the small blocks, bytes: larger than typical small holes. */
#define PIECE_MAX 256

/* Limits on the number of attempts when `leave` cannot be met exactly. */
#define EXACT_TRIES 400
#define ROUNDS 16
#define RESERVE_MAX 1024 /* most bytes that the large blocks leave to the small ones */

/* The allocator aligns to 4, which is less than a host pointer needs. */
typedef struct held_block {
    struct held_block *next;
} __attribute__((packed, aligned(4))) held_block_t;

typedef struct {
    bool used;
    heap_hold_info_t info;
    held_block_t *last;
} hold_t;

static hold_t s_holds[HEAP_HOLD_MAX];

static hold_t *hold_of(unsigned id)
{
    return id >= 1 && id <= HEAP_HOLD_MAX && s_holds[id - 1].used ? &s_holds[id - 1] : NULL;
}

static hold_t *new_hold(uint32_t caps, unsigned *id)
{
    for (unsigned i = 0; i < HEAP_HOLD_MAX; i++) {
        if (!s_holds[i].used) {
            s_holds[i] = (hold_t){.used = true, .info = {.caps = caps}};
            *id = i + 1;
            return &s_holds[i];
        }
    }
    return NULL;
}

static bool keep(hold_t *hold, held_block_t *block)
{
    if (block == NULL) {
        return false;
    }
    block->next = hold->last;
    hold->last = block;
    hold->info.blocks++;
    hold->info.bytes += (uint32_t)heap_caps_get_allocated_size(block);
    return true;
}

static bool push(hold_t *hold, uint32_t size)
{
    return hold->info.blocks < HEAP_HOLD_BLOCKS_MAX &&
           keep(hold, heap_fail_quiet_malloc(size, hold->info.caps));
}

/** Frees the block after `before`, or the first block of the list if `before` is NULL. */
static void free_after(hold_t *hold, held_block_t *before)
{
    held_block_t *block = before != NULL ? before->next : hold->last;
    if (before != NULL) {
        before->next = block->next;
    } else {
        hold->last = block->next;
    }
    hold->info.blocks--;
    hold->info.bytes -= (uint32_t)heap_caps_get_allocated_size(block);
    heap_caps_free(block);
}

/** Frees the block that was allocated `younger` blocks before the newest, or else the oldest. */
static void pop_after(hold_t *hold, unsigned younger)
{
    held_block_t *before = NULL;
    held_block_t *block = hold->last;
    if (block == NULL) {
        return;
    }
    while (younger-- > 0 && block->next != NULL) {
        before = block;
        block = block->next;
    }
    free_after(hold, before);
}

static void pop(hold_t *hold)
{
    pop_after(hold, 0);
}

static void drop(hold_t *hold)
{
    while (hold->last != NULL) {
        pop(hold);
    }
    hold->used = false;
}

/** @return the largest size, at most `size` (≥ BLOCK_MIN), that no heap rounds up */
static uint32_t round_down(uint32_t size)
{
    uint32_t step = BLOCK_HEADER;
    while (size >= step * STEPS_PER_POWER * 2) {
        step *= 2;
    }
    return size / step * step;
}

static uint32_t free_bytes(const hold_t *hold)
{
    return (uint32_t)heap_caps_get_free_size(hold->info.caps);
}

/** Allocates blocks, largest first, while more than PIECE_MAX + `reserve` bytes remain and a block fits. */
static void take_large(hold_t *hold, uint32_t leave, uint32_t limit, uint32_t reserve)
{
    while (true) {
        uint32_t now = free_bytes(hold);
        if (now <= leave || now - leave <= PIECE_MAX + reserve) {
            return;
        }
        uint32_t size = round_down(now - leave - BLOCK_HEADER - reserve);
        size = size < limit ? size : limit;
        if (push(hold, size)) {
            continue;
        }
        uint32_t largest = (uint32_t)heap_caps_get_largest_free_block(hold->info.caps);
        size = size < largest ? size : largest;
        if (size < BLOCK_MIN || !push(hold, size)) {
            return;
        }
    }
}

/**
 * Allocates the last bytes in small blocks: tries sizes until a combination of at most about ten blocks fits
 * exactly. A single block often does not fit, for two reasons. A remainder of 4, 8 or 12 bytes is less than
 * any block costs. And the allocator does not split off such a remainder, so a request may cost more than its
 * size.
 * @return false if no combination fits within *tries allocations; no block is kept then
 */
static bool take_exactly(hold_t *hold, uint32_t leave, unsigned *tries)
{
    uint32_t now = free_bytes(hold);
    if (now < leave) {
        return false;
    }
    uint32_t missing = (now - leave) & ~3u;
    if (missing < BLOCK_COST_MIN) {
        return missing == 0;
    }
    uint32_t size = missing - BLOCK_HEADER < PIECE_MAX ? missing - BLOCK_HEADER : PIECE_MAX;
    for (; size >= BLOCK_MIN && *tries > 0; size -= BLOCK_HEADER) {
        size = round_down(size);
        --*tries;
        if (!push(hold, size)) {
            continue;
        }
        if (take_exactly(hold, leave, tries)) {
            return true;
        }
        pop(hold);
    }
    return false;
}

/** Allocates small blocks while the free size stays above `leave`. */
static void take_roughly(hold_t *hold, uint32_t leave)
{
    for (uint32_t size = PIECE_MAX; size >= BLOCK_MIN; size = round_down(size - BLOCK_HEADER)) {
        while (free_bytes(hold) >= leave + size + BLOCK_HEADER && push(hold, size)) {
            if (free_bytes(hold) < leave) {
                pop(hold);
                break;
            }
        }
    }
}

static void take_down_to(hold_t *hold, uint32_t leave, uint32_t limit)
{
    uint32_t reserve = BLOCK_COST_MIN;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned tries = EXACT_TRIES;
        take_large(hold, leave, limit, reserve);
        if (take_exactly(hold, leave, &tries)) {
            return;
        }
        if (round % 2 == 0) {
            /* Leave more bytes to the small blocks: that allows more combinations. */
            pop(hold);
            reserve = reserve < RESERVE_MAX ? reserve * 2 : BLOCK_COST_MIN;
        } else {
            /* The small blocks may all come from one hole that is a few bytes too large. Plug that hole, and
             * free an older block, so that the next round uses another hole. */
            uint32_t now = free_bytes(hold);
            push(hold, now >= leave + BLOCK_COST_MIN ? now - leave - BLOCK_HEADER : BLOCK_MIN);
            pop_after(hold, 1 + round / 2);
        }
    }
    while (free_bytes(hold) < leave && hold->last != NULL) {
        pop(hold);
    }
    take_large(hold, leave, limit, BLOCK_COST_MIN);
    take_roughly(hold, leave);
}

esp_err_t heap_hold_size(uint32_t caps, uint32_t size, unsigned *id)
{
    hold_t *hold = new_hold(caps, id);
    if (hold == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    if (!keep(hold, heap_caps_malloc(size < BLOCK_MIN ? BLOCK_MIN : size, caps))) {
        hold->used = false;
        return ESP_ERR_NO_MEM;
    }
    return ESP_OK;
}

esp_err_t heap_hold_resize(unsigned id, uint32_t size)
{
    hold_t *hold = hold_of(id);
    if (hold == NULL || hold->info.blocks != 1) {
        return ESP_ERR_NOT_FOUND;
    }
    held_block_t *block = heap_caps_realloc(hold->last, size < BLOCK_MIN ? BLOCK_MIN : size, hold->info.caps);
    if (block == NULL) {
        return ESP_ERR_NO_MEM;
    }
    hold->last = block;
    hold->info.bytes = (uint32_t)heap_caps_get_allocated_size(block);
    return ESP_OK;
}

esp_err_t heap_hold_add(uint32_t caps, uint32_t size, unsigned *id)
{
    hold_t *hold = *id != 0 ? hold_of(*id) : new_hold(caps, id);
    if (hold == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    if (push(hold, size < BLOCK_MIN ? BLOCK_MIN : size)) {
        return ESP_OK;
    }
    if (hold->last == NULL) {
        hold->used = false;
        *id = 0;
    }
    return ESP_ERR_NO_MEM;
}

esp_err_t heap_hold_leave(uint32_t caps, uint32_t leave, uint32_t block, unsigned *id)
{
    if (heap_caps_get_free_size(caps) < leave) {
        return ESP_ERR_INVALID_SIZE;
    }
    hold_t *hold = new_hold(caps, id);
    if (hold == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    uint32_t limit = block == 0 ? UINT32_MAX : block < BLOCK_MIN ? BLOCK_MIN : block & ~3u;
    take_down_to(hold, leave, limit);
    return ESP_OK;
}

/** Sorts the blocks, lowest first. Addresses mostly rise from one allocation to the next, so the list starts
 * with the highest block, and each insertion is at the front. */
static void sort_by_address(hold_t *hold)
{
    held_block_t *sorted = NULL;
    while (hold->last != NULL) {
        held_block_t *block = hold->last;
        hold->last = block->next;
        held_block_t *before = NULL;
        held_block_t *after = sorted;
        while (after != NULL && (uintptr_t)after < (uintptr_t)block) {
            before = after;
            after = after->next;
        }
        block->next = after;
        if (before != NULL) {
            before->next = block;
        } else {
            sorted = block;
        }
    }
    hold->last = sorted;
}

/** @return whether two blocks are adjacent, with no space for a block between them; `low` has the lower
 * address */
static bool adjoin(held_block_t *low, const held_block_t *high)
{
    return (uintptr_t)high - (uintptr_t)low - heap_caps_get_allocated_size(low) <= BLOCK_COST_MIN;
}

/** Frees every second block. A block is freed only if the next higher block is adjacent and stays allocated;
 * otherwise the freed block would coalesce with free memory above it. */
static void free_every_second(hold_t *hold)
{
    held_block_t *below = NULL;
    held_block_t *block = hold->last;
    while (block != NULL && block->next != NULL) {
        held_block_t *above = block->next;
        if (!adjoin(block, above)) {
            below = block;
            block = above;
            continue;
        }
        free_after(hold, below);
        below = above;
        block = above->next;
    }
}

esp_err_t heap_hold_split(uint32_t caps, uint32_t block, uint32_t count, unsigned *id, uint32_t *had)
{
    *had = 0;
    if (count > HEAP_HOLD_BLOCKS_MAX) {
        return ESP_ERR_INVALID_SIZE;
    }
    hold_t *hold = new_hold(caps, id);
    if (hold == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    uint32_t size = block < BLOCK_MIN ? BLOCK_MIN : block;
    while ((count == 0 || *had < count) && push(hold, size)) {
        ++*had;
    }
    bool more = count == 0 && *had == HEAP_HOLD_BLOCKS_MAX; /* more blocks may be available */
    if (more || *had < count || *had < 2) {
        drop(hold);
        return more ? ESP_ERR_INVALID_SIZE : ESP_ERR_NO_MEM;
    }
    sort_by_address(hold);
    free_every_second(hold);
    return ESP_OK;
}

void heap_hold_total(uint32_t *holds, uint32_t *bytes)
{
    *holds = 0;
    *bytes = 0;
    for (unsigned i = 0; i < HEAP_HOLD_MAX; i++) {
        if (s_holds[i].used) {
            ++*holds;
            *bytes += s_holds[i].info.bytes;
        }
    }
}

bool heap_hold_info(unsigned id, heap_hold_info_t *info)
{
    const hold_t *hold = hold_of(id);
    if (hold != NULL) {
        *info = hold->info;
    }
    return hold != NULL;
}

bool heap_hold_release(unsigned id, heap_hold_info_t *released)
{
    hold_t *hold = hold_of(id);
    if (hold == NULL) {
        return false;
    }
    *released = hold->info;
    drop(hold);
    return true;
}
