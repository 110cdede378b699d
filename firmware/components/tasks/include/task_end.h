/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for the memory of tasks that have ended. The stack and control block of a task that deletes itself
 * are freed by an idle task, some time later: what reports free memory, or that something is over, waits for
 * that first.
 *
 * Any task, not an interrupt; nothing that keeps an idle task from running may be held.
 */
#pragma once

#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Longest wait of a caller that has nothing better to do than to go on without the memory. */
#define TASK_END_TIMEOUT_MS 1000

/**
 * @brief Waits until the memory of every task that has ended before this call is free. Takes 1 to 3 ticks on
 * an idle board.
 *
 * @return ESP_OK; ESP_ERR_TIMEOUT: an idle task did not get the processor in time; ESP_ERR_NO_MEM: ESP-IDF
 * has no place for another idle hook
 */
esp_err_t task_end_wait(uint32_t timeout_ms);

/**
 * @brief Waits until there is no task of this name, and its memory is free.
 *
 * @return ESP_OK; ESP_ERR_TIMEOUT: it still runs, or as task_end_wait(); ESP_ERR_NO_MEM
 */
esp_err_t task_end_wait_for(const char *name, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
