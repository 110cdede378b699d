/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The functions run in the same contexts as the heap's, even while the flash cache is off, so they are in
 * IRAM.
 */
#include "profile_table.h"

#include "esp_attr.h"

/* A hash table with linear probing is slow when it is nearly full, so a quarter of the slots stays empty. */
#define SLOTS_USABLE(slots) ((slots) - (slots) / 4U)

static IRAM_ATTR uint32_t mix(uint32_t value)
{
    value *= 0x9E3779B1U; /* Fibonacci hashing: 2^32 / golden ratio, odd */
    return value ^ value >> 16;
}

static IRAM_ATTR bool names_equal(const char *kept, const char *name)
{
    for (uint32_t i = 0; i < MEMORY_PROFILE_NAME_SIZE - 1U; i++) {
        if (kept[i] != name[i]) {
            return false;
        }
        if (name[i] == '\0') {
            return true;
        }
    }
    return true;
}

static IRAM_ATTR void set_name(char *kept, const char *name)
{
    uint32_t i = 0;
    for (; i < MEMORY_PROFILE_NAME_SIZE - 1U && name[i] != '\0'; i++) {
        kept[i] = name[i];
    }
    for (; i < MEMORY_PROFILE_NAME_SIZE; i++) {
        kept[i] = '\0';
    }
}

/* --- Tasks --- */

/** The last entry, "(other)", represents all tasks without an entry. It also owns the rows of `rest_row`. */
static IRAM_ATTR uint32_t other_tasks(profile_table_t *table)
{
    static DRAM_ATTR const char NAME[] = "(other)";
    uint32_t number = table->task_max - 1U;
    set_name(table->tasks[number].name, NAME);
    return number;
}

static IRAM_ATTR uint32_t find_task(profile_table_t *table, const char *name)
{
    if (table->task_count > 0 && names_equal(table->tasks[table->task_last].name, name)) {
        return table->task_last; /* usually, one task allocates several times in a row */
    }
    for (uint32_t i = 0; i < table->task_count; i++) {
        if (names_equal(table->tasks[i].name, name)) {
            table->task_last = i;
            return i;
        }
    }
    if (table->task_count == table->task_max - 1U) {
        table->loss.no_task++;
        return other_tasks(table);
    }
    set_name(table->tasks[table->task_count].name, name);
    return table->task_count++;
}

/* --- Rows --- */

static IRAM_ATTR bool is_row_of(const profile_row_t *row, const uint32_t *frames, uint32_t task,
                                uint32_t memory)
{
    for (uint32_t i = 0; i < MEMORY_PROFILE_FRAMES; i++) {
        if (row->frames[i] != frames[i]) {
            return false;
        }
    }
    return row->task == task && row->memory == memory;
}

static IRAM_ATTR uint32_t new_row(profile_table_t *table, const uint32_t *frames, uint32_t task,
                                  uint32_t memory)
{
    profile_row_t *row = &table->rows[table->row_count];
    for (uint32_t i = 0; i < MEMORY_PROFILE_FRAMES; i++) {
        row->frames[i] = frames[i];
    }
    row->task = (uint8_t)task;
    row->memory = (uint8_t)memory;
    return table->row_count++;
}

/** The row for allocations of this memory type that found no row. It has no frames. */
static IRAM_ATTR uint32_t rest_row(profile_table_t *table, uint32_t memory)
{
    table->loss.no_row++;
    uint32_t number = table->row_max - MEMORY_PROFILE_MEMORIES + memory;
    table->rows[number].task = (uint8_t)other_tasks(table);
    table->rows[number].memory = (uint8_t)memory;
    return number;
}

static IRAM_ATTR uint32_t find_row(profile_table_t *table, const uint32_t *frames, uint32_t task,
                                   uint32_t memory)
{
    uint32_t hash = task * MEMORY_PROFILE_MEMORIES + memory;
    for (uint32_t i = 0; i < MEMORY_PROFILE_FRAMES; i++) {
        hash = mix(hash ^ frames[i]);
    }
    uint32_t slot = hash & (table->index_slots - 1U);
    while (table->row_index[slot] != 0) {
        uint32_t number = table->row_index[slot] - 1U;
        if (is_row_of(&table->rows[number], frames, task, memory)) {
            return number;
        }
        slot = (slot + 1U) & (table->index_slots - 1U);
    }
    if (table->row_count == table->row_max - MEMORY_PROFILE_MEMORIES) {
        return rest_row(table, memory);
    }
    uint32_t number = new_row(table, frames, task, memory);
    table->row_index[slot] = (uint16_t)(number + 1U);
    return number;
}

/* --- Blocks --- */

static IRAM_ATTR uint32_t home_of(const profile_table_t *table, uint32_t address)
{
    return mix(address >> 2) & (table->block_slots - 1U);
}

/** The slot of an address, or the empty slot where its search ends. */
static IRAM_ATTR uint32_t find_slot(const profile_table_t *table, uint32_t address)
{
    uint32_t slot = home_of(table, address);
    while (table->blocks[slot].address != 0 && table->blocks[slot].address != address) {
        slot = (slot + 1U) & (table->block_slots - 1U);
    }
    return slot;
}

/** Empties a slot, and moves later blocks of its run up, so that each search still finds them. */
static IRAM_ATTR void empty_slot(profile_table_t *table, uint32_t hole)
{
    uint32_t mask = table->block_slots - 1U;
    for (uint32_t slot = (hole + 1U) & mask; table->blocks[slot].address != 0; slot = (slot + 1U) & mask) {
        uint32_t home = home_of(table, table->blocks[slot].address);
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            table->blocks[hole] = table->blocks[slot];
            hole = slot;
        }
    }
    table->blocks[hole] = (profile_block_t){0};
    table->block_count--;
}

static IRAM_ATTR void grow(memory_profile_use_t *use, uint32_t size)
{
    use->bytes += size;
    use->blocks++;
    if (use->bytes > use->peak) {
        use->peak = use->bytes;
    }
}

static IRAM_ATTR void lose(profile_table_t *table, uint32_t size, uint32_t memory)
{
    table->loss.bytes[memory] += size;
    table->loss.blocks[memory]++;
}

/** @return false: no slot, so the block counts as lost */
static IRAM_ATTR bool insert(profile_table_t *table, profile_block_t block)
{
    profile_row_t *row = &table->rows[block.row];
    if (table->block_count == SLOTS_USABLE(table->block_slots)) {
        lose(table, block.size, row->memory);
        return false;
    }
    table->blocks[find_slot(table, block.address)] = block;
    table->block_count++;
    grow(&row->use, block.size);
    grow(&table->tasks[row->task].use, block.size);
    return true;
}

/* --- Interface --- */

IRAM_ATTR void profile_table_add(profile_table_t *table, uint32_t address, uint32_t size,
                                 memory_profile_memory_t memory, const uint32_t frames[MEMORY_PROFILE_FRAMES],
                                 const char *name)
{
    profile_table_remove(table, address);
    uint32_t number = find_row(table, frames, find_task(table, name), (uint32_t)memory);
    profile_row_t *row = &table->rows[number];
    row->use.allocations++;
    table->tasks[row->task].use.allocations++;
    profile_block_t block = {
        .address = address,
        .size = size < PROFILE_BLOCK_MAX ? size : PROFILE_BLOCK_MAX,
        .row = number,
    };
    table->loss.no_slot += !insert(table, block);
}

IRAM_ATTR profile_block_t profile_table_remove(profile_table_t *table, uint32_t address)
{
    uint32_t slot = find_slot(table, address);
    profile_block_t block = table->blocks[slot];
    if (block.address == 0) {
        return block;
    }
    profile_row_t *row = &table->rows[block.row];
    row->use.bytes -= block.size;
    row->use.blocks--;
    table->tasks[row->task].use.bytes -= block.size;
    table->tasks[row->task].use.blocks--;
    empty_slot(table, slot);
    return block;
}

IRAM_ATTR void profile_table_restore(profile_table_t *table, profile_block_t block)
{
    if (block.address != 0) {
        insert(table, block);
    }
}

IRAM_ATTR void profile_table_freed_unknown(profile_table_t *table, uint32_t size,
                                           memory_profile_memory_t memory)
{
    if (table->loss.blocks[memory] == 0 || table->loss.bytes[memory] < size) {
        table->loss.unknown_frees++;
        return;
    }
    table->loss.blocks[memory]--;
    table->loss.bytes[memory] -= size;
}

IRAM_ATTR bool profile_table_knows(const profile_table_t *table, uint32_t address)
{
    return table->blocks[find_slot(table, address)].address != 0;
}

static profile_mark_t mark_of(const memory_profile_use_t *use)
{
    return (profile_mark_t){use->bytes, use->blocks, use->allocations};
}

void profile_table_mark(profile_table_t *table)
{
    for (uint32_t i = 0; i < table->row_max; i++) {
        table->rows[i].mark = mark_of(&table->rows[i].use);
    }
    for (uint32_t i = 0; i < table->task_max; i++) {
        table->tasks[i].mark = mark_of(&table->tasks[i].use);
    }
}
