/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Destination of every query that a test makes without reading the answer. Shared, because the largest answer
 * does not fit on the stack of the main task or the monitor.
 */
#pragma once

#include <stddef.h>

#include "memory_manager.h"

typedef struct {
    union {
        memory_stats_t stats;
        memory_monitoring_t monitoring;
        memory_thresholds_t thresholds;
        memory_event_t event;
        memory_snapshot_t snapshot;
        memory_baseline_t baseline;
        memory_delta_t delta;
        memory_self_t self;
        memory_placement_t placement;
        memory_optimize_report_t report;
    };
    size_t count;
} api_out_t;

api_out_t *api_out(void);
