/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The log path: snapshots are queued in the RTC ring until they are written, first as a record, then as a
 * box.
 *
 * A task that logs only adds a snapshot to the ring. Only a task that holds the stdout lock writes snapshots
 * and removes them from the queue.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "mem_alloc_failed.h"
#include "mem_logic.h"
#include "memory_manager.h"

#define MEM_LOG_BOXES_MAX 8 //!< Maximum number of queued boxes; beyond it the oldest box is dropped

/** Finds the previous boot's snapshots. */
void mem_log_init(void);

/**
 * Queues a snapshot to be written as a record and, if box is true, as a box. Returns at once, unless
 * MEMORY_HISTORY_SIZE records are already queued: then the caller writes the oldest itself, since no record
 * may be lost.
 */
void mem_log_put(const memory_stats_t *stats, const memory_delta_t *delta, const char *context, bool box);

bool mem_log_waiting(void);

/**
 * Writes the oldest queued record or, if no record is queued, the oldest box. Returns false if neither is
 * queued, or if the transmit ring has no room and force is false.
 */
bool mem_log_write_one(bool force);

/** Stores an event and sends its record. */
void mem_log_change(const mem_change_t *change);
void mem_log_alloc_failed(const mem_alloc_failed_t *failed, uint32_t lost);
size_t mem_log_events(uint32_t since, memory_event_t *out, size_t max);

size_t mem_log_history(memory_snapshot_t *out, size_t max);
/** Snapshots of the previous boot; false if there are none. */
bool mem_log_last_boot(memory_last_boot_t *boot, memory_snapshot_t *out, size_t max, size_t *count);

/** Writes one log line: text, then the number with its unit (NULL: text only). */
void mem_log_line(char letter, const char *text, int32_t number, const char *unit);

size_t mem_log_static_size(void);
size_t mem_log_rtc_size(void);
