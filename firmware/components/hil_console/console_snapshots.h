/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "console.h"
#include "memory_manager.h"

/** Where a command reads snapshots into. */
extern memory_snapshot_t g_console_snapshots[MEMORY_HISTORY_SIZE];

/**
 * Adds the first `count` of them: "fields" has the names of a snapshot's columns, "snapshots" one array of
 * their values each: sequence, context, then the statistics. With the names in each, a snapshot would not fit
 * into a record.
 */
void console_add_snapshots(console_reply_t *reply, size_t count);
