/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Readings of the heap. The only file that queries heap_caps.
 */
#pragma once

#include "memory_manager.h"

#define MEM_CAPS_INTERNAL \
    (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT) /* without 8BIT: includes IRAM, which is not byte-addressable */
#define MEM_CAPS_DMA MALLOC_CAP_DMA
#define MEM_CAPS_PSRAM MALLOC_CAP_SPIRAM
#define MEM_CAPS_TOTAL MALLOC_CAP_DEFAULT

/**
 * Saves ESP-IDF's minimum of free memory, then starts the low-water marks, which allocates memory once and
 * resets that minimum.
 */
esp_err_t mem_sample_init(void);

/**
 * Takes a sample. Each heap is locked, with interrupts off on this core, while its blocks are walked: about
 * 0.1 us per block in internal RAM, 0.5 us in PSRAM if the cache misses.
 */
void mem_sample_take(memory_stats_t *out);

/** Starts a new window: resets the low-water marks. */
void mem_sample_new_window(void);

size_t mem_sample_static_size(void);
