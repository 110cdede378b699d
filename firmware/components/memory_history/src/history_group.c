/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "history_group.h"

#include "telemetry_crc.h"

_Static_assert(HISTORY_GROUP_ROWS *HISTORY_GROUPS == MEMORY_HISTORY_ROWS_MAX, "rows in all groups");
_Static_assert(HISTORY_GROUP_ROWS *(HISTORY_GROUPS - 1) + 1 == MEMORY_HISTORY_ROWS_MIN,
               "beginning a group removes the oldest group");

size_t history_group_size(size_t count)
{
    return offsetof(history_group_t, rows) + count * sizeof(memory_history_row_t);
}

uint32_t history_group_of(uint32_t sequence)
{
    return (sequence - 1) / HISTORY_GROUP_ROWS % HISTORY_GROUPS;
}

uint32_t history_place_of(uint32_t sequence)
{
    return (sequence - 1) % HISTORY_GROUP_ROWS;
}

void history_group_key(uint32_t group, char key[HISTORY_KEY_SIZE])
{
    key[0] = 'g';
    key[1] = (char)('0' + group / 10);
    key[2] = (char)('0' + group % 10);
    key[3] = '\0';
}

static uint16_t check_of(const history_group_t *group)
{
    uint16_t crc = telemetry_crc16(TELEMETRY_CRC_START, &group->count, sizeof(group->count));
    return telemetry_crc16(crc, group->rows, group->count * sizeof(group->rows[0]));
}

size_t history_group_add(history_group_t *group, const memory_history_row_t *row)
{
    uint32_t place = history_place_of(row->sequence);
    group->format = HISTORY_FORMAT;
    group->zero = 0;
    group->rows[place] = *row;
    group->count = (uint16_t)(place + 1);
    group->check = check_of(group);
    return history_group_size(group->count);
}

static bool row_valid(const memory_history_row_t *row)
{
    return row->reason < MEMORY_HISTORY_REASONS_ && row->state[MEMORY_HISTORY_STATE_SIZE - 1] == '\0';
}

bool history_group_valid(const history_group_t *group, size_t size, uint32_t number)
{
    if (size < history_group_size(1) || group->format != HISTORY_FORMAT || group->count == 0 ||
        group->count > HISTORY_GROUP_ROWS || size != history_group_size(group->count) ||
        group->check != check_of(group)) {
        return false;
    }
    uint32_t first = group->rows[0].sequence;
    bool valid = first != 0 && history_group_of(first) == number && history_place_of(first) == 0;
    for (uint32_t place = 0; place < group->count; place++) {
        valid = valid && group->rows[place].sequence == first + place && row_valid(&group->rows[place]);
    }
    return valid;
}
