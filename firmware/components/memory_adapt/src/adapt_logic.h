/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The learned values, stored with a checksum that is verified after a reset. Pure: no IDF header.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "memory_adapt.h"
#include "memory_manager.h"

#define ADAPT_MARGIN 4096     //!< Margin below the lowest value: this many bytes
#define ADAPT_MARGIN_SHARE 64 //!< plus 1/64 of the lowest value
#define ADAPT_FIRMWARE_SIZE 8 //!< Bytes of the firmware's hash
#define ADAPT_MEMORIES 3      //!< Internal, DMA, PSRAM

typedef struct {
    char state[MEMORY_ADAPT_NAME_SIZE]; /* "": unused */
    uint32_t windows;
    uint32_t lowest[ADAPT_MEMORIES];
} adapt_entry_t;

typedef struct {
    uint8_t firmware[ADAPT_FIRMWARE_SIZE];
    adapt_entry_t entries[MEMORY_ADAPT_STATES_MAX];
    uint16_t crc;
} adapt_store_t;

/** Keeps the store if it is intact and was written by this firmware; otherwise clears it. @return true if it
 * was kept */
bool adapt_open(adapt_store_t *store, const uint8_t firmware[ADAPT_FIRMWARE_SIZE]);
void adapt_clear(adapt_store_t *store, const uint8_t firmware[ADAPT_FIRMWARE_SIZE]);

/** Learns from a steady window without an active warning, until `enough` windows are learned. */
void adapt_learn(adapt_store_t *store, const char *state, const memory_stats_t *stats, uint32_t enough);

/**
 * Raises the warning thresholds to those learned for this state, if `enough` windows were learned. A
 * threshold is not raised while free memory is at least half a margin above it, so that a warning can end: in
 * this state, free memory may never exceed the threshold by as much as the manager's hysteresis, a tenth of
 * the threshold.
 */
void adapt_apply(const adapt_store_t *store, const char *state, const memory_stats_t *stats, uint32_t enough,
                 memory_thresholds_t *thresholds);

/** The warning threshold for this lowest value. */
uint32_t adapt_threshold(uint32_t lowest);
