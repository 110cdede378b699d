/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "reclaim_logic.h"

#define HYSTERESIS_MIN 1024u

bool reclaim_insert(memory_reclaim_t **first, memory_reclaim_t *reclaimer)
{
    memory_reclaim_t **link = first;
    for (const memory_reclaim_t *other = *first; other != NULL; other = other->next) {
        if (other == reclaimer) {
            return false;
        }
    }
    while (*link != NULL && (*link)->cost <= reclaimer->cost) {
        link = &(*link)->next;
    }
    reclaimer->next = *link;
    *link = reclaimer;
    return true;
}

bool reclaim_remove(memory_reclaim_t **first, const memory_reclaim_t *reclaimer)
{
    memory_reclaim_t **link = first;
    while (*link != NULL && *link != reclaimer) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return false;
    }
    *link = reclaimer->next;
    return true;
}

bool reclaim_is_skipped(const memory_reclaim_t *reclaimer)
{
    return reclaimer->idle >= MEMORY_RECLAIM_IDLE_MAX;
}

bool reclaim_may_run(const memory_reclaim_t *reclaimer, memory_reclaim_trigger_t trigger, uint32_t caps)
{
    if (trigger < reclaimer->from || (reclaimer->caps & caps) == 0) {
        return false;
    }
    return trigger == MEMORY_RECLAIM_REQUEST || !reclaim_is_skipped(reclaimer);
}

bool reclaim_count(memory_reclaim_t *reclaimer, uint32_t gain)
{
    reclaimer->runs++;
    reclaimer->gained += gain;
    if (gain > 0) {
        reclaimer->idle = 0;
        return false;
    }
    if (reclaim_is_skipped(reclaimer)) {
        return false; /* was skipped before */
    }
    reclaimer->idle++;
    return reclaim_is_skipped(reclaimer);
}

uint32_t reclaim_leave(uint32_t threshold)
{
    uint32_t tenth = threshold / 10;
    return threshold + (tenth > HYSTERESIS_MIN ? tenth : HYSTERESIS_MIN);
}

static bool enters(bool *level, uint32_t free, uint32_t threshold)
{
    bool was = *level;
    *level = was ? free < reclaim_leave(threshold) : free < threshold;
    return *level && !was;
}

bool reclaim_enters(reclaim_level_t *level, uint32_t free, uint32_t warning, uint32_t critical,
                    uint32_t *target, memory_reclaim_trigger_t *trigger)
{
    bool low = enters(&level->low, free, warning);
    if (enters(&level->critical, free, critical)) {
        *trigger = MEMORY_RECLAIM_CRITICAL;
        *target = reclaim_leave(critical);
        return true;
    }
    if (low) {
        *trigger = MEMORY_RECLAIM_LOW;
        *target = reclaim_leave(warning);
        return true;
    }
    return false;
}
