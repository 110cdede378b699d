/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Waits until the memory of deleted tasks is free. If a task deletes itself, an idle task frees its stack and
 * control block some time later. Code that reports free memory, or the end of an operation, must wait for
 * that first.
 *
 * Any task may call these functions, but not an interrupt. The idle tasks must be able to run during
 * the wait.
 */
#pragma once

#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Timeout for callers that continue even if the memory is not free. */
#define TASK_END_TIMEOUT_MS 1000

/**
 * @brief Waits until the memory of every task that was deleted before this call is free. Takes 1 to 3 ticks
 * on an idle board.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_TIMEOUT: an idle task did not run in time
 *      - ESP_ERR_NO_MEM: ESP-IDF has no slot for another idle hook
 */
esp_err_t task_end_wait(uint32_t timeout_ms);

/**
 * @brief Waits until no task with this name exists and its memory is free.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_TIMEOUT: the task still exists, or an idle task did not run in time
 *      - ESP_ERR_NO_MEM: ESP-IDF has no slot for another idle hook
 */
esp_err_t task_end_wait_for(const char *name, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
