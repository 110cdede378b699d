/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Decides when an attempt is due. Pure: no IDF header.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** The attempts so far; zero before the first. */
typedef struct {
    bool gave_up;     //!< The last attempt did not help, and its cause is still present
    uint32_t last_ms; //!< End of the last attempt
    uint32_t attempts;
    uint32_t helped;
} optimize_record_t;

/** Whether to make an attempt now. `needed`: the cause is present. Clears gave_up when the cause has ended.
 */
bool optimize_is_due(optimize_record_t *record, bool needed, uint32_t now_ms, uint32_t cooldown_ms);

/** Records the outcome of an attempt. `helped`: its cause has ended. */
void optimize_note(optimize_record_t *record, bool helped, uint32_t now_ms);
