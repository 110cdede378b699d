/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for the memory of tasks that have ended. The stack and control block of a task that deletes itself
 * are freed by an idle task, some time later: code that reports free memory, or the end of an operation,
 * waits for that first.
 *
 * From any task, not from an interrupt; the caller must not block the idle tasks.
 */
#pragma once

#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Longest wait of a caller that can only continue without the memory. */
#define TASK_END_TIMEOUT_MS 1000

/**
 * @brief Waits until the memory of every task that has ended before this call is free. Takes 1 to 3 ticks on
 * an idle board.
 *
 * @return ESP_OK; ESP_ERR_TIMEOUT: an idle task did not get the processor in time; ESP_ERR_NO_MEM: ESP-IDF
 * has no slot for another idle hook
 */
esp_err_t task_end_wait(uint32_t timeout_ms);

/**
 * @brief Waits until no task of this name exists, and its memory is free.
 *
 * @return ESP_OK; ESP_ERR_TIMEOUT: it still runs, or as task_end_wait(); ESP_ERR_NO_MEM
 */
esp_err_t task_end_wait_for(const char *name, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
