/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots that survive a reset: two banks in RTC memory, used alternately by successive boots, so that the
 * snapshots of the last boot remain readable while new ones are written. All data has a CRC: a reset can
 * occur between any two writes, and after power-on the content is random. Pure: no IDF header.
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
    uint32_t generation; //!< Counts boots; the bank with the higher one is the newer
    memory_last_boot_t boot;
    uint32_t check; //!< CRC of the fields above
    mem_slot_t slot[MEMORY_HISTORY_SIZE];
} mem_bank_t;

typedef struct {
    mem_bank_t bank[2];
} mem_ring_t;

/**
 * Finds the last boot's bank and selects the other for this boot. Returns the index of this boot's bank;
 * *last_valid is true if the other is valid.
 */
int mem_ring_open(mem_ring_t *ring, const memory_last_boot_t *boot, bool *last_valid);

/** Stores a snapshot in the slot of its sequence number, over the one MEMORY_HISTORY_SIZE before. */
void mem_bank_put(mem_bank_t *bank, const memory_snapshot_t *snapshot);

/** The snapshot of this number; false if it is overwritten, torn or of another boot. */
bool mem_bank_get(const mem_bank_t *bank, uint32_t sequence, memory_snapshot_t *out);

/** Valid snapshots, newest first; returns the number written to out. */
size_t mem_bank_list(const mem_bank_t *bank, memory_snapshot_t *out, size_t max);
