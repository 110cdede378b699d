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
#define MEM_LINE_MAX 240 //!< Bytes of the longest line, including newline and terminator
#define MEM_BOX_MAX 3200 //!< Bytes of the longest box, including colours

typedef struct {
    const memory_snapshot_t *snapshot;
    uint32_t time_ms;  //!< Timestamp in the lines' prefix: when the box is written
    const char *color; //!< Escape sequence before each line, at most 8 bytes; "" for none
    const char *reset; //!< Escape sequence after each line
} mem_box_t;

/**
 * Writes line number `line` (from 0) of the box to out (MEM_LINE_MAX bytes), in the format of ESP_LOGI, with
 * "\r\n". Returns its length; 0 after the last line.
 */
size_t mem_render_line(const mem_box_t *box, unsigned line, char *out);

/** Writes the prefix of a log line to out; letter is the level ('I', 'W'). Returns its length. */
size_t mem_render_prefix(char letter, uint32_t time_ms, const char *color, char *out);
