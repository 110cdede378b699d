/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Registered tasks and their priorities. Pure: no IDF header but esp_err.h. Not thread-safe.
 */
#pragma once

#include "memory_priority.h"

/** Whether a task may get this priority. count: number of priorities; 0 is reserved for the idle task. */
bool priority_is_valid(unsigned priority, unsigned count);
/** False: the entry is already in the list. */
bool priority_add(memory_priority_t **first, memory_priority_t *entry);
/** False: the entry is not in the list. */
bool priority_remove(memory_priority_t **first, const memory_priority_t *entry);
/**
 * Marks whether memory is critical for this task.
 *
 * @param priority set to the task's new priority if true is returned
 * @return true if the task's priority must be set
 */
bool priority_change(memory_priority_t *entry, bool is_pressed, unsigned *priority);
