/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The memory story in ESP-IDF's core dump: what the memory was like before the crash.
 */
#pragma once

#include <stdbool.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Begins to record. To be called after memory_manager_init().
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: already started, or the memory manager is not initialised
 */
esp_err_t memory_crash_start(void);

/**
 * Names the step of the application that begins now; it ends when a state is set
 * (memory_manager_set_state()). The name is copied, at most 19 characters.
 */
void memory_crash_set_step(const char *step, bool undo);

#ifdef __cplusplus
}
#endif
