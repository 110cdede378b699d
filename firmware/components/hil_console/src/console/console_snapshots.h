/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "console.h"
#include "memory_history.h"
#include "memory_manager.h"

/** Buffer that commands share for data too large for the stack. Only one command runs at a time. */
typedef union {
    memory_snapshot_t snapshots[MEMORY_HISTORY_SIZE];
    int32_t sizes[600];
    memory_history_row_t rows[8];
} console_table_t;

extern console_table_t g_console_table;

/**
 * Adds the first `count` snapshots of g_console_table as a table: "fields" has the column names, "snapshots"
 * has one array of values per snapshot (sequence, context, statistics). With the names repeated, a snapshot
 * would not fit into a record.
 */
void console_add_snapshots(console_reply_t *reply, size_t count);
