/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots that survive a reset, in two banks of RTC memory. Successive boots use the banks alternately, so
 * that the previous boot's snapshots remain readable while new snapshots are written. All data has a CRC,
 * since a reset can occur between any two writes, and the content is random after power-on. Pure: no IDF
 * header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

typedef struct {
    memory_snapshot_t snapshot;
    uint32_t check; //!< CRC of the snapshot and the bank's generation
} mem_slot_t;

typedef struct {
    uint32_t magic;      //!< Changes with the layout of this memory
    uint32_t generation; //!< Number of the boot; the bank with the higher number is newer
    memory_last_boot_t boot;
    uint32_t check; //!< CRC of the fields above
    mem_slot_t slot[MEMORY_HISTORY_SIZE];
} mem_bank_t;

typedef struct {
    mem_bank_t bank[2];
} mem_ring_t;

/**
 * Finds the previous boot's bank and selects the other bank for this boot. Returns the index of this boot's
 * bank; *last_valid is true if the previous boot's bank is valid.
 */
int mem_ring_open(mem_ring_t *ring, const memory_last_boot_t *boot, bool *last_valid);

/** Stores a snapshot in the slot of its sequence number; overwrites the snapshot that is MEMORY_HISTORY_SIZE
 * older. */
void mem_bank_put(mem_bank_t *bank, const memory_snapshot_t *snapshot);

/** Reads the snapshot with this number; false if it was overwritten, is torn, or is from another boot. */
bool mem_bank_get(const mem_bank_t *bank, uint32_t sequence, memory_snapshot_t *out);

/** Writes the valid snapshots to out, newest first; returns their number. */
size_t mem_bank_list(const mem_bank_t *bank, memory_snapshot_t *out, size_t max);
