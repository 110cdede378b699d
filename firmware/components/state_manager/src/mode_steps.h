/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Steps of each mode: starting and stopping its drivers. State task only, except mode_step_list().
 */
#pragma once

#include "state_manager.h"
#include "transition.h"

/** Writes the steps from one state to another to `steps`; ERROR and INIT mean "all drivers stopped". @return
 * their number */
size_t mode_step_list(system_state_t from, system_state_t to, transition_step_t steps[TRANSITION_STEPS_MAX]);

/** True if exactly the drivers of this state are running. */
bool mode_holds(system_state_t state);

/** Stops all running drivers, even if one cannot be stopped; stops audio only if no task still uses it.
 * @return the first error */
esp_err_t mode_take_down(void);

void mode_settle_set(const state_manager_settle_t *settle);

/** The pause after stopping drivers. */
esp_err_t mode_settle_down(void);
