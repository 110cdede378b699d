/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Deliberate failures and panics in the steps of a mode change. In HIL builds the linker's --wrap
 * (wrap.cmake) puts a wrapper around state_manager_enter_step(), so the state manager contains no hook.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define STEP_HOOK_MAX 4

typedef struct {
    uint32_t armed; /*!< number of steps that are still to fail */
    bool crash_armed;
    uint32_t failed; /*!< steps made to fail since step_hook_fail() */
} step_hook_state_t;

/**
 * @brief Makes each of these steps fail with ESP_FAIL the next `count` times it is entered.
 *
 * @param list up to STEP_HOOK_MAX names, separated by commas; "undo:NAME" is the undo of a step
 * @return false: unknown step, or too many; no step is armed
 */
bool step_hook_fail(const char *list, uint32_t count);

/** @brief Calls `crash` when this step is next entered. Names as for step_hook_fail(). @return false: unknown
 * step */
bool step_hook_crash(const char *step, void (*crash)(void));

void step_hook_disarm(void);

step_hook_state_t step_hook_get_state(void);
