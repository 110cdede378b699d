/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rows as they are stored: in groups, one NVS blob per group. The groups form a ring, and the rows of a group
 * have consecutive sequence numbers. A group takes 13 entries of NVS; 25 groups are 325 of the 630 entries
 * that a partition of 24 KB can hold. Pure: no IDF header but esp_err.h.
 */
#pragma once

#include "memory_history.h"

#define HISTORY_FORMAT 0x4D48U //!< Changes with the layout of a row or group
#define HISTORY_GROUP_ROWS 6
#define HISTORY_GROUPS 25
#define HISTORY_KEY_SIZE 4 //!< "g00" to "g24", with the terminator

typedef struct {
    uint16_t format;
    uint16_t count;
    uint16_t check; //!< CRC of count and rows
    uint16_t zero;
    memory_history_row_t rows[HISTORY_GROUP_ROWS];
} history_group_t;

/** Bytes of a group with this number of rows. */
size_t history_group_size(size_t count);

/** Number of the group, and place in it, of the row with this sequence number, which must not be 0. */
uint32_t history_group_of(uint32_t sequence);
uint32_t history_place_of(uint32_t sequence);

/** Name of a group's blob. */
void history_group_key(uint32_t group, char key[HISTORY_KEY_SIZE]);

/** Adds a row in the place of its sequence number; place 0 starts a new group. Returns the group's size.
 */
size_t history_group_add(history_group_t *group, const memory_history_row_t *row);

/** True if *group, of which `size` bytes were read, is intact and is group `number` of the ring. */
bool history_group_valid(const history_group_t *group, size_t size, uint32_t number);
