/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Deliberate failures and panics in the steps of a change of mode. The linker's --wrap (wrap.cmake) puts
 * this in front of state_manager_enter_step() in HIL builds; the state manager itself carries no hook.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define STEP_HOOK_MAX 4

typedef struct {
    uint32_t armed;  /*!< names that have failures left */
    uint32_t failed; /*!< steps made to fail since it was armed */
} step_hook_state_t;

/**
 * @brief The next `count` times each of these steps is entered, it fails with ESP_FAIL.
 *
 * @param list up to STEP_HOOK_MAX names with commas between them; "undo:NAME" is the undo of a step
 * @return false: an unknown step, or too many; nothing is armed
 */
bool step_hook_fail(const char *list, uint32_t count);

/** @brief When this step is next entered, `crash` is called. Same names. @return false: no such step */
bool step_hook_crash(const char *step, void (*crash)(void));

void step_hook_disarm(void);

step_hook_state_t step_hook_get_state(void);
