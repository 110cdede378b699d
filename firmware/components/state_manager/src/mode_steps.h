/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * What each mode consists of: the drivers' calls as steps. State task only, but mode_step_list().
 */
#pragma once

#include "state_manager.h"
#include "transition.h"

/** The steps from one state to another, written to `steps`. ERROR and INIT stand for "all drivers down". */
size_t mode_step_list(system_state_t from, system_state_t to, transition_step_t steps[TRANSITION_STEPS_MAX]);

/** True if exactly the drivers of this state are up. */
bool mode_holds(system_state_t state);

/** Takes down whatever is up. @return the first error; what could be taken down is down. */
esp_err_t mode_take_down(void);

void mode_settle_set(const state_manager_settle_t *settle);

/** The pause behind drivers that went down. */
esp_err_t mode_settle_down(void);
