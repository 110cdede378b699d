/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * No lock is needed: a change is flagged before the state is stored, and the state is read before the flag.
 * So a sample during a change never counts as steady.
 */
#include "mem_observe.h"

#include <stdatomic.h>
#include "esp_attr.h"

static struct {
    memory_observer_t *_Atomic first; /* the newest; observers are never removed */
    const char *_Atomic state;
    atomic_bool changed; /* the state was set since the last periodic sample */
} s_observe = {.state = ""};

/* Calls this callback of each observer that provides it. */
#define CALL_EACH(function, ...)                                                              \
    for (const memory_observer_t *observer = atomic_load(&s_observe.first); observer != NULL; \
         observer = observer->next) {                                                         \
        if (observer->function != NULL) {                                                     \
            observer->function(__VA_ARGS__);                                                  \
        }                                                                                     \
    }

void mem_observe_set_state(const char *state)
{
    atomic_store(&s_observe.changed, true);
    atomic_store(&s_observe.state, state);
    CALL_EACH(entered, state);
}

void mem_observe_register(memory_observer_t *observer)
{
    observer->next = atomic_load(&s_observe.first);
    while (!atomic_compare_exchange_weak(&s_observe.first, &observer->next, observer)) {
    }
}

void mem_observe_adapt(const memory_stats_t *stats, memory_thresholds_t *thresholds)
{
    memory_observation_t observation = {.stats = stats, .state = atomic_load(&s_observe.state)};
    observation.steady = !atomic_load(&s_observe.changed) && observation.state[0] != '\0';
    CALL_EACH(adapt, &observation, thresholds);
}

void mem_observe_sample(const memory_stats_t *stats, bool low, bool critical)
{
    memory_observation_t observation = {.stats = stats, .low = low, .critical = critical};
    observation.state = atomic_load(&s_observe.state);
    bool changed = atomic_exchange(&s_observe.changed, false);
    observation.steady = !changed && observation.state[0] != '\0';
    CALL_EACH(observe, &observation);
}

void mem_observe_warning(const memory_warning_t *warning)
{
    CALL_EACH(warned, warning);
}

void mem_observe_snapshot(const memory_snapshot_t *snapshot)
{
    CALL_EACH(logged, snapshot);
}

IRAM_ATTR void mem_observe_failed(uint32_t size, uint32_t caps, const char *function)
{
    CALL_EACH(failed, size, caps, function);
}

size_t mem_observe_static_size(void)
{
    return sizeof(s_observe);
}
