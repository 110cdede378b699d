/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Decisions about reclaimers. Pure: no IDF header but esp_err.h.
 */
#pragma once

#include "memory_reclaim.h"

/** Inserts a reclaimer after those with the same or a lower cost. False: it is already in the list. */
bool reclaim_insert(memory_reclaim_t **first, memory_reclaim_t *reclaimer);
/** False: it is not in the list. */
bool reclaim_remove(memory_reclaim_t **first, const memory_reclaim_t *reclaimer);

/** Whether a reclaimer runs at this trigger, to free memory with `caps`. Does not call available(). */
bool reclaim_may_run(const memory_reclaim_t *reclaimer, memory_reclaim_trigger_t trigger, uint32_t caps);
/** Counts a run. @return true if the reclaimer is skipped from now on */
bool reclaim_count(memory_reclaim_t *reclaimer, uint32_t gain);
bool reclaim_is_skipped(const memory_reclaim_t *reclaimer);

/** Level of one memory type, with hysteresis. Initialise with {0}: above both thresholds. */
typedef struct {
    bool low;
    bool critical;
} reclaim_level_t;

/** Free bytes needed to leave the level of a threshold, as in memory_thresholds_t. */
uint32_t reclaim_leave(uint32_t threshold);

/**
 * Updates the level with the free bytes of a sample.
 *
 * @param target set if true is returned: free bytes at which the entered level is left
 * @param trigger set if true is returned: MEMORY_RECLAIM_LOW or MEMORY_RECLAIM_CRITICAL
 * @return true if a level was entered
 */
bool reclaim_enters(reclaim_level_t *level, uint32_t free, uint32_t warning, uint32_t critical,
                    uint32_t *target, memory_reclaim_trigger_t *trigger);
