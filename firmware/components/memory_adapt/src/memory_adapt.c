/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only the monitor task changes the store while the task runs. If a reader reads it at the same time, each
 * number is valid, but some may be from the previous window.
 */
#include "memory_adapt.h"

#include <stdatomic.h>
#include <string.h>
#include "adapt_logic.h"
#include "esp_app_desc.h"
#include "esp_attr.h"
#include "memory_manager.h"
#include "sdkconfig.h"

#define ENOUGH CONFIG_HOTPIN_MEM_ADAPT_WINDOWS

#if CONFIG_HOTPIN_MEM_ADAPT_AT_START
#define AT_START true
#else
#define AT_START false
#endif

static RTC_NOINIT_ATTR adapt_store_t s_store;

static struct {
    memory_observer_t observer;
    atomic_bool started;
    atomic_bool enabled;
    atomic_bool forget;
} s_adapt;

static const uint8_t *firmware(void)
{
    return esp_app_get_description()->app_elf_sha256;
}

static void adapt(const memory_observation_t *observation, memory_thresholds_t *thresholds)
{
    bool applies = atomic_load(&s_adapt.enabled) && !atomic_load(&s_adapt.forget);
    if (applies && observation->steady) {
        adapt_apply(&s_store, observation->state, observation->stats, ENOUGH, thresholds);
    }
}

static void observe(const memory_observation_t *observation)
{
    if (atomic_exchange(&s_adapt.forget, false)) {
        adapt_clear(&s_store, firmware());
    }
    bool usual = observation->steady && !observation->low && !observation->critical;
    if (usual && atomic_load(&s_adapt.enabled)) {
        adapt_learn(&s_store, observation->state, observation->stats, ENOUGH);
    }
}

esp_err_t memory_adapt_start(void)
{
    if (atomic_exchange(&s_adapt.started, true)) {
        return ESP_ERR_INVALID_STATE;
    }
    adapt_open(&s_store, firmware());
    atomic_store(&s_adapt.enabled, AT_START);
    s_adapt.observer.observe = observe;
    s_adapt.observer.adapt = adapt;
    esp_err_t err = memory_manager_register_observer(&s_adapt.observer);
    atomic_store(&s_adapt.started, err == ESP_OK);
    return err;
}

void memory_adapt_enable(bool enable)
{
    atomic_store(&s_adapt.enabled, enable);
}

bool memory_adapt_is_enabled(void)
{
    return atomic_load(&s_adapt.enabled);
}

void memory_adapt_reset(void)
{
    atomic_store(&s_adapt.forget, true);
}

esp_err_t memory_adapt_get(memory_adapted_t *out, size_t max, size_t *count)
{
    if ((out == NULL && max > 0) || count == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!atomic_load(&s_adapt.started)) {
        return ESP_ERR_INVALID_STATE;
    }
    *count = 0;
    for (size_t number = 0; number < MEMORY_ADAPT_STATES_MAX && *count < max; number++) {
        const adapt_entry_t *entry = &s_store.entries[number];
        if (entry->state[0] == '\0' || atomic_load(&s_adapt.forget)) {
            continue;
        }
        memory_adapted_t *adapted = &out[(*count)++];
        memcpy(adapted->state, entry->state, sizeof(adapted->state));
        adapted->windows = entry->windows;
        adapted->learned = entry->windows >= ENOUGH;
        adapted->internal = adapt_threshold(entry->lowest[0]);
        adapted->dma = adapt_threshold(entry->lowest[1]);
        adapted->psram = adapt_threshold(entry->lowest[2]);
    }
    return ESP_OK;
}

size_t memory_adapt_static_size(void)
{
    return sizeof(s_adapt);
}

size_t memory_adapt_rtc_size(void)
{
    return sizeof(s_store);
}
