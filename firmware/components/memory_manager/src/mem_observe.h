/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The application's state, and the observers that extensions use. Pure: no IDF header but
 * esp_attr.h.
 */
#pragma once

#include "memory_manager.h"

/** `state` is "" while a change is in progress. */
void mem_observe_set_state(const char *state);

void mem_observe_register(memory_observer_t *observer);

/** Lets the observers change the thresholds for the check of this sample. Any task. */
void mem_observe_adapt(const memory_stats_t *stats, memory_thresholds_t *thresholds);

/** Calls the observers with a periodic sample and the active levels. Monitor task only. */
void mem_observe_sample(const memory_stats_t *stats, bool low, bool critical);

void mem_observe_warning(const memory_warning_t *warning);
void mem_observe_snapshot(const memory_snapshot_t *snapshot);

/** Called by any task in any context, even with the flash cache off. */
void mem_observe_failed(uint32_t size, uint32_t caps, const char *function);

size_t mem_observe_static_size(void);
