/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "adapt_logic.h"

#include <stddef.h>
#include <string.h>
#include "telemetry_crc.h"

static uint16_t crc_of(const adapt_store_t *store)
{
    return telemetry_crc16(TELEMETRY_CRC_START, store, offsetof(adapt_store_t, crc));
}

void adapt_clear(adapt_store_t *store, const uint8_t firmware[ADAPT_FIRMWARE_SIZE])
{
    memset(store, 0, sizeof(*store));
    memcpy(store->firmware, firmware, ADAPT_FIRMWARE_SIZE);
    store->crc = crc_of(store);
}

bool adapt_open(adapt_store_t *store, const uint8_t firmware[ADAPT_FIRMWARE_SIZE])
{
    bool kept = store->crc == crc_of(store) && memcmp(store->firmware, firmware, ADAPT_FIRMWARE_SIZE) == 0;
    if (!kept) {
        adapt_clear(store, firmware);
    }
    return kept;
}

static int find(const adapt_store_t *store, const char *state)
{
    int number = 0;
    while (number < MEMORY_ADAPT_STATES_MAX && strcmp(store->entries[number].state, state) != 0) {
        number++;
    }
    return number;
}

void adapt_learn(adapt_store_t *store, const char *state, const memory_stats_t *stats, uint32_t enough)
{
    int number = find(store, state);
    if (number == MEMORY_ADAPT_STATES_MAX) {
        number = find(store, "");
        if (number == MEMORY_ADAPT_STATES_MAX || strlen(state) >= sizeof(store->entries[0].state)) {
            return;
        }
        strcpy(store->entries[number].state, state);
    }
    adapt_entry_t *entry = &store->entries[number];
    if (entry->windows >= enough) {
        return;
    }
    const uint32_t watermarks[ADAPT_MEMORIES] = {
        stats->internal_watermark,
        stats->dma_watermark,
        stats->psram_watermark,
    };
    for (int memory = 0; memory < ADAPT_MEMORIES; memory++) {
        bool lower = entry->windows == 0 || watermarks[memory] < entry->lowest[memory];
        entry->lowest[memory] = lower ? watermarks[memory] : entry->lowest[memory];
    }
    entry->windows++;
    store->crc = crc_of(store);
}

static uint32_t margin_of(uint32_t lowest)
{
    return ADAPT_MARGIN + lowest / ADAPT_MARGIN_SHARE;
}

uint32_t adapt_threshold(uint32_t lowest)
{
    return lowest > margin_of(lowest) ? lowest - margin_of(lowest) : 0;
}

static void raise_threshold(uint32_t *threshold, uint32_t lowest, uint32_t free)
{
    uint32_t learned = adapt_threshold(lowest);
    if (learned > *threshold && free < learned + margin_of(lowest) / 2) {
        *threshold = learned;
    }
}

void adapt_apply(const adapt_store_t *store, const char *state, const memory_stats_t *stats, uint32_t enough,
                 memory_thresholds_t *thresholds)
{
    int number = find(store, state);
    if (state[0] == '\0' || number == MEMORY_ADAPT_STATES_MAX || store->entries[number].windows < enough) {
        return;
    }
    const uint32_t *lowest = store->entries[number].lowest;
    raise_threshold(&thresholds->internal_ram_warning, lowest[0], stats->internal_free);
    raise_threshold(&thresholds->dma_capable_warning, lowest[1], stats->dma_free);
    raise_threshold(&thresholds->psram_warning, lowest[2], stats->psram_free);
}
