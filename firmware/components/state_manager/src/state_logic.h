/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Decides what a request does in the current state. Pure: no IDF header.
 */
#pragma once

#include "state_manager.h"

typedef enum {
    STATE_STAY, //!< Already in that state
    STATE_CHANGE,
    STATE_REFUSE,
} state_decision_t;

state_decision_t state_decide(system_state_t now, system_state_t wanted);

/** True for the states that may be passed to state_manager_request(). */
bool state_can_be_asked(system_state_t state);
