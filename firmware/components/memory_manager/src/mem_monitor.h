/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The monitor task: samples periodically, and writes the output queued by mem_log.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

/** Work of the monitor task, once per interval. */
typedef void (*mem_periodic_t)(void);

/** Sets the work of the task. Call it before all other functions. */
void mem_monitor_init(mem_periodic_t periodic);

/**
 * Starts the task or changes the interval; the first sample is due one interval from now. ESP_ERR_NO_MEM: no
 * memory for the task.
 */
esp_err_t mem_monitor_start(uint32_t interval_ms);

/** Stops the task. Returns when it has ended, or another task has restarted it. Called from the task itself,
 * only requests the end. */
void mem_monitor_stop(void);

/**
 * Wakes the task to write queued output, or creates a task that ends when all output is written. If there is
 * not enough memory for a task, the caller writes the output.
 */
void mem_monitor_wake(void);

bool mem_monitor_running(uint32_t *interval_ms);
/** Bytes of stack that the task has never used; 0 if the task is not running. */
uint32_t mem_monitor_stack_unused(void);
bool mem_monitor_has_task(void);
size_t mem_monitor_static_size(void);

#define MEM_MONITOR_STACK_SIZE 2048
