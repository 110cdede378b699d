/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The memory story in ESP-IDF's core dump: the state of memory before the crash.
 */
#pragma once

#include <stdbool.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Starts to record. Call it after memory_manager_init().
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: already started, or the memory manager is not initialised
 */
esp_err_t memory_crash_start(void);

/**
 * Names the step that the application starts now. The step ends when a state is set
 * (memory_manager_set_state()). The name is copied and cut to 19 characters, including "undo:" for an undo.
 */
void memory_crash_set_step(const char *step, bool undo);

#ifdef __cplusplus
}
#endif
