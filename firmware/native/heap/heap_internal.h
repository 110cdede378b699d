/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Internal interface of the heap model.
 */
#pragma once

#include <stdarg.h>

#include "esp_heap_caps.h"
#include "esp_heap_model.h"
#include "memory_map.h"
#include "tlsf.h"

#define HEAP_RECORD_SIZE 36u // sizeof(heap_t) of heap_caps on the chip
#define HEAP_NAME_MAX 32
#define HEAP_STARTS_MAX 64
#define HEAP_START_BLOCKS 16 // most blocks of one startup line

typedef struct {
    heap_type_t type;
    tlsf_heap_t tlsf;
} heap_t;

typedef struct {
    char name[HEAP_NAME_MAX];
    uint32_t count;
    uint32_t addresses[HEAP_START_BLOCKS];
} heap_start_t;

struct heap_system {
    memory_map_t map;
    uint32_t count;
    heap_t *heaps[HEAP_MAX_HEAPS]; // in search order
    bool recorded;                 // the records of the heaps known at reset have been charged
    uint32_t start_count;
    heap_start_t starts[HEAP_STARTS_MAX];
    char error[200];
};

/* Sets heap_system_error() and returns false, so that a function can `return heap_fail(...)`. */
bool heap_fail(heap_system_t *system, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Capabilities of a type: one set per priority, and their union. */
const uint32_t *heap_type_caps(heap_type_t type);
uint32_t heap_type_all_caps(heap_type_t type);
/* True if an EXEC allocation from this type returns an address of the inverted alias. */
bool heap_type_is_aliased(heap_type_t type);

/* Charges the records of the heaps known at reset, once. */
bool heap_record_reset_heaps(heap_system_t *system);
