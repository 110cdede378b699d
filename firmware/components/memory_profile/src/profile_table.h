/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The tables of the allocation profile. The caller provides their memory and the lock.
 *
 * Each block in use has an entry: its address, its size and its row. A row counts the blocks that one task
 * allocated at one call site from one memory type. Rows and tasks are never removed, so their numbers are
 * stable. The functions run while interrupts are off, so each takes a bounded time and none allocates.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory_profile_types.h"

#define PROFILE_BLOCK_MAX ((1U << 22) - 1U) /*!< bytes of the largest block; an ESP32 heap has up to 4 MB */
#define PROFILE_ROWS_MAX 1023U              /*!< limit of profile_block_t.row */

/** One block in use: a slot of the hash table of addresses. */
typedef struct {
    uint32_t address; /*!< 0: the slot is empty */
    uint32_t size : 22;
    uint32_t row : 10;
} profile_block_t;

/** Counters at the last mark. */
typedef struct {
    uint32_t bytes;
    uint32_t blocks;
    uint32_t allocations;
} profile_mark_t;

typedef struct {
    uint32_t frames[MEMORY_PROFILE_FRAMES]; /*!< 0 after the last frame */
    uint8_t task;                           /*!< number of the task */
    uint8_t memory;                         /*!< memory_profile_memory_t */
    memory_profile_use_t use;
    profile_mark_t mark;
} profile_row_t;

typedef struct {
    char name[MEMORY_PROFILE_NAME_SIZE];
    memory_profile_use_t use;
    profile_mark_t mark;
} profile_task_t;

/** Empty if all members are 0, except sizes and pointers. */
typedef struct {
    profile_block_t *blocks;
    uint32_t block_slots; /*!< power of two */
    uint32_t block_count;
    profile_row_t *rows;
    uint16_t *row_index;  /*!< hash table; a slot holds row index + 1, or 0 if empty */
    uint32_t index_slots; /*!< power of two, more than row_max */
    uint32_t row_max;
    uint32_t row_count;
    profile_task_t *tasks;
    uint32_t task_max;
    uint32_t task_count;
    uint32_t task_last; /*!< index of the task found last */
    memory_profile_loss_t loss;
} profile_table_t;

/**
 * @brief Adds an allocated block. If the table has an older block at this address, it is removed first.
 *
 * If there is no slot for the block, it only counts in `loss`. If no task is left, it counts for the task
 * "(other)"; if no row is left, for the last row of its memory type, which has no frames and the task
 * "(other)".
 *
 * @param frames return addresses, innermost first, 0 after the last
 * @param name name of the task; at most MEMORY_PROFILE_NAME_SIZE - 1 characters count
 */
void profile_table_add(profile_table_t *table, uint32_t address, uint32_t size,
                       memory_profile_memory_t memory, const uint32_t frames[MEMORY_PROFILE_FRAMES],
                       const char *name);

/** Removes a block. @return the entry; its address is 0 if the block is not in the table */
profile_block_t profile_table_remove(profile_table_t *table, uint32_t address);

/** Restores the entry that profile_table_remove() returned, because the block is still in use. It is not
 * counted as an allocation. */
void profile_table_restore(profile_table_t *table, profile_block_t block);

/** Counts the free of a block that is not in the table: it had no slot, or was never counted. */
void profile_table_freed_unknown(profile_table_t *table, uint32_t size, memory_profile_memory_t memory);

/** @return whether the table has a block at this address */
bool profile_table_knows(const profile_table_t *table, uint32_t address);

/** Stores the counters of all rows and tasks as the baseline of later comparisons. */
void profile_table_mark(profile_table_t *table);
