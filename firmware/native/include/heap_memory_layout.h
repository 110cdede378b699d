/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's heap_memory_layout.h: the chip's kinds of memory and where they are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOC_MEMORY_TYPE_NO_PRIOS 3

typedef struct {
    const char *name;
    uint32_t caps[SOC_MEMORY_TYPE_NO_PRIOS]; //!< Capabilities by priority
} soc_memory_type_desc_t;

typedef struct {
    intptr_t start;        //!< First address on the data bus
    size_t size;           //!< Bytes
    size_t type;           //!< Index in soc_memory_types
    intptr_t iram_address; //!< The same memory on the instruction bus; 0 if it has none
    bool startup_stack;    //!< Holds the ROM's stack until the scheduler starts
} soc_memory_region_t;

extern const soc_memory_type_desc_t soc_memory_types[];
extern const size_t soc_memory_type_count;

/** In the order of their addresses. One region here is a run of adjacent regions of one type in ESP-IDF. */
extern const soc_memory_region_t soc_memory_regions[];
extern const size_t soc_memory_region_count;
