/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The statistics box, line by line. Pure: no IDF header.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

#define MEM_TAG "MEM_MGR"
#define MEM_LINE_MAX 240 //!< Bytes of the longest line, its end and a terminator included
#define MEM_BOX_MAX 3200 //!< Bytes of the longest box, with colours

typedef struct {
    const memory_snapshot_t *snapshot;
    uint32_t time_ms;  //!< In the lines' prefix: when the box is written
    const char *color; //!< Before each line, at most 8 bytes; "" for none
    const char *reset; //!< After each line
} mem_box_t;

/**
 * Line number `line` (from 0) of the box, as ESP_LOGI shows it, with "\r\n", to out (MEM_LINE_MAX bytes).
 * Returns its length; 0 after the last line.
 */
size_t mem_render_line(const mem_box_t *box, unsigned line, char *out);

/** The prefix of a log line of this level ('I', 'W') to out; returns its length. */
size_t mem_render_prefix(char letter, uint32_t time_ms, const char *color, char *out);
