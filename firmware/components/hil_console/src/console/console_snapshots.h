/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "console.h"
#include "memory_manager.h"

/** Buffer of commands for data too large for the stack: one use at a time. */
typedef union {
    memory_snapshot_t snapshots[MEMORY_HISTORY_SIZE];
    int32_t sizes[600];
} console_table_t;

extern console_table_t g_console_table;

/**
 * Adds the first `count` snapshots: "fields" has the column names, "snapshots" one array of values each:
 * sequence, context, then the statistics. With names in each snapshot, it would not fit into a record.
 */
void console_add_snapshots(console_reply_t *reply, size_t count);
