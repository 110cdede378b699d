/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Readings of the heap. The only file that queries heap_caps.
 */
#pragma once

#include "memory_manager.h"

#define MEM_CAPS_INTERNAL \
    (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT) /* alone it would include IRAM, which is not byte-addressable */
#define MEM_CAPS_DMA MALLOC_CAP_DMA
#define MEM_CAPS_PSRAM MALLOC_CAP_SPIRAM
#define MEM_CAPS_TOTAL MALLOC_CAP_DEFAULT

/**
 * Saves the minimum so far, then starts the low-water marks (which allocates once, and resets ESP-IDF's
 * minimum).
 */
esp_err_t mem_sample_init(void);

/**
 * A fresh sample. Each heap is locked, with interrupts off on this core, while its blocks are walked: about
 * 0.1 us per block in internal RAM, 0.5 us in PSRAM when the cache misses.
 */
void mem_sample_take(memory_stats_t *out);

/** Begins a new window of the low-water marks. */
void mem_sample_new_window(void);

size_t mem_sample_static_size(void);
