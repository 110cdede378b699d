/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "optimize_logic.h"

bool optimize_is_due(optimize_record_t *record, bool needed, uint32_t now_ms, uint32_t cooldown_ms)
{
    record->gave_up &= needed;
    bool is_cooling = record->attempts > 0 && now_ms - record->last_ms < cooldown_ms;
    return needed && !record->gave_up && !is_cooling;
}

void optimize_note(optimize_record_t *record, bool helped, uint32_t now_ms)
{
    record->last_ms = now_ms;
    record->attempts++;
    record->helped += helped;
    record->gave_up = !helped;
}
