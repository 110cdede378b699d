/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "console.h"
#include "memory_manager.h"

/** Where a command reads into what is too much for its stack: one of these at a time. */
typedef union {
    memory_snapshot_t snapshots[MEMORY_HISTORY_SIZE];
    int32_t sizes[600];
} console_table_t;

extern console_table_t g_console_table;

/**
 * Adds the first `count` of them: "fields" has the names of a snapshot's columns, "snapshots" one array of
 * their values each: sequence, context, then the statistics. With the names in each, a snapshot would not fit
 * into a record.
 */
void console_add_snapshots(console_reply_t *reply, size_t count);
