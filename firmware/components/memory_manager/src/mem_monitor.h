/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The monitor task: samples periodically, and writes what the log path holds.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

/** What the monitor does once an interval. Runs in its task. */
typedef void (*mem_periodic_t)(void);

/** Before anything else here. */
void mem_monitor_init(mem_periodic_t periodic);

/**
 * Starts the task, or gives the running one a new interval, counted from now. ESP_ERR_NO_MEM: no room for
 * the task.
 */
esp_err_t mem_monitor_start(uint32_t interval_ms);

/** Returns when the task has ended, or was started again by somebody else. From the task itself: asks only.
 */
void mem_monitor_stop(void);

/**
 * Something waits in the log path: wakes the task, or creates one that ends when all is written. Without
 * memory for it the caller writes.
 */
void mem_monitor_wake(void);

bool mem_monitor_running(uint32_t *interval_ms);
/** Bytes of stack never used; 0 when no task runs. */
uint32_t mem_monitor_stack_unused(void);
bool mem_monitor_has_task(void);
size_t mem_monitor_static_size(void);

#define MEM_MONITOR_STACK_SIZE 2048
