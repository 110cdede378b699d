/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host memory behind the chip's addresses.
 */
#pragma once

#include "esp_heap_model.h"

#define MEMORY_MAP_MAX 24

typedef struct {
    uint32_t start;
    uint32_t length;
    uint8_t *host;
} memory_mapping_t;

typedef struct {
    heap_backing_t backing;
    uint32_t count;
    memory_mapping_t mappings[MEMORY_MAP_MAX];
} memory_map_t;

/*
 * Provides zeroed host memory for a region. HEAP_BACKING_TARGET: whole pages at the chip's addresses, shared
 * with earlier regions of this map on the same pages. Returns false, with one line in `error`, if the host
 * refuses.
 */
bool memory_map_add(memory_map_t *map, uint32_t start, uint32_t length, char *error, size_t error_size);
void memory_map_free(memory_map_t *map);

/* Host address of a byte; NULL if it is in no region. */
uint8_t *memory_map_host(const memory_map_t *map, uint32_t address);
