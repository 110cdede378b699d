/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The monitor task: samples periodically, and writes the queue of the log path.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

/** Work of the monitor task, once per interval. */
typedef void (*mem_periodic_t)(void);

/** To be called first. */
void mem_monitor_init(mem_periodic_t periodic);

/**
 * Starts the task, or sets a new interval, counted from now. ESP_ERR_NO_MEM: no memory for the task.
 */
esp_err_t mem_monitor_start(uint32_t interval_ms);

/** Returns when the task has ended, or was restarted by another task. From the task itself: only requests the
 * end.
 */
void mem_monitor_stop(void);

/**
 * Wakes the task to write the queue of the log path, or creates one that ends when all is written. Without
 * memory for it the caller writes.
 */
void mem_monitor_wake(void);

bool mem_monitor_running(uint32_t *interval_ms);
/** Bytes of stack never used; 0 when no task runs. */
uint32_t mem_monitor_stack_unused(void);
bool mem_monitor_has_task(void);
size_t mem_monitor_static_size(void);

#define MEM_MONITOR_STACK_SIZE 2048
