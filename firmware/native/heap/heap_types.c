/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Kinds of memory of the ESP32 and their capabilities (ESP-IDF v5.4: heap/port/esp32/memory_layout.c; PSRAM
 * and the pool: esp_psram/esp_psram.c).
 */
#include <string.h>

#include "heap_internal.h"
#include "heap_memory_layout.h"

_Static_assert(HEAP_PRIORITIES == SOC_MEMORY_TYPE_NO_PRIOS, "one capability set per priority");

/* The pools are not in ESP-IDF's table; no region has their type. */
const soc_memory_type_desc_t soc_memory_types[HEAP_TYPE_COUNT] = {
    [HEAP_TYPE_DRAM] = {"DRAM",
                        {MALLOC_CAP_8BIT | MALLOC_CAP_DEFAULT,
                         MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_32BIT, 0}},
    [HEAP_TYPE_DIRAM] = {"DIRAM",
                         {0, MALLOC_CAP_DMA | MALLOC_CAP_8BIT | MALLOC_CAP_INTERNAL | MALLOC_CAP_DEFAULT,
                          MALLOC_CAP_32BIT | MALLOC_CAP_EXEC}},
    [HEAP_TYPE_IRAM] = {"IRAM", {MALLOC_CAP_INTERNAL | MALLOC_CAP_EXEC | MALLOC_CAP_32BIT, 0, 0}},
    [HEAP_TYPE_SPIRAM] = {"SPIRAM",
                          {MALLOC_CAP_SPIRAM | MALLOC_CAP_DEFAULT, 0,
                           MALLOC_CAP_8BIT | MALLOC_CAP_32BIT | MALLOC_CAP_SIMD}},
    [HEAP_TYPE_POOL_V542] = {"POOL_V542",
                             {0, MALLOC_CAP_DMA | MALLOC_CAP_INTERNAL, MALLOC_CAP_8BIT | MALLOC_CAP_32BIT}},
    [HEAP_TYPE_POOL] = {"POOL",
                        {0, MALLOC_CAP_DMA | MALLOC_CAP_INTERNAL,
                         MALLOC_CAP_DEFAULT | MALLOC_CAP_8BIT | MALLOC_CAP_32BIT}},
};

const size_t soc_memory_type_count = HEAP_TYPE_COUNT;

const soc_memory_region_t soc_memory_regions[] = {
    {0x3F800000, 0x400000, HEAP_TYPE_SPIRAM, 0, false},
    {0x3FFAE000, 0x32000, HEAP_TYPE_DRAM, 0, false},
    {0x3FFE0000, 0x20000, HEAP_TYPE_DIRAM, 0x400A0000, true}, // the alias is inverted
    {0x40070000, 0x30000, HEAP_TYPE_IRAM, 0, false},
};

const size_t soc_memory_region_count = sizeof(soc_memory_regions) / sizeof(soc_memory_regions[0]);

static const char *const s_cap_names[] = {
    "EXEC",      "32BIT",  "8BIT", "DMA",          "PID2",         "PID3",          "PID4",
    "PID5",      "PID6",   "PID7", "SPIRAM",       "INTERNAL",     "DEFAULT",       "IRAM_8BIT",
    "RETENTION", "RTCRAM", "SPM",  "DMA_DESC_AHB", "DMA_DESC_AXI", "CACHE_ALIGNED", "SIMD",
};

#define CAP_NAMES (sizeof(s_cap_names) / sizeof(s_cap_names[0]))

_Static_assert(1 << (CAP_NAMES - 1) == MALLOC_CAP_SIMD, "one name for each capability bit");

const uint32_t *heap_type_caps(heap_type_t type)
{
    return soc_memory_types[type].caps;
}

uint32_t heap_type_all_caps(heap_type_t type)
{
    uint32_t all = 0;
    for (int priority = 0; priority < HEAP_PRIORITIES; priority++) {
        all |= soc_memory_types[type].caps[priority];
    }
    return all;
}

bool heap_type_is_aliased(heap_type_t type)
{
    return type == HEAP_TYPE_DIRAM;
}

heap_type_t heap_type_at(uint32_t address)
{
    for (size_t i = 0; i < soc_memory_region_count; i++) {
        intptr_t offset = (intptr_t)address - soc_memory_regions[i].start;
        if (offset >= 0 && offset < (intptr_t)soc_memory_regions[i].size) {
            return (heap_type_t)soc_memory_regions[i].type;
        }
    }
    return HEAP_TYPE_COUNT;
}

const char *heap_type_name(heap_type_t type)
{
    return (unsigned)type < HEAP_TYPE_COUNT ? soc_memory_types[type].name : "?";
}

bool heap_type_from_name(const char *name, heap_type_t *type)
{
    for (int i = 0; i < HEAP_TYPE_COUNT; i++) {
        if (strcmp(name, soc_memory_types[i].name) == 0) {
            *type = (heap_type_t)i;
            return true;
        }
    }
    return false;
}

const char *heap_cap_name(uint32_t bit)
{
    if (bit == 31) {
        return "INVALID";
    }
    return bit < CAP_NAMES ? s_cap_names[bit] : NULL;
}

static bool cap_from_name(const char *name, size_t length, uint32_t *caps)
{
    for (uint32_t bit = 0; bit < 32; bit++) {
        const char *known = heap_cap_name(bit);
        if (known != NULL && strlen(known) == length && memcmp(known, name, length) == 0) {
            *caps |= 1u << bit;
            return true;
        }
    }
    return false;
}

bool heap_caps_from_names(const char *names, uint32_t *caps)
{
    *caps = 0;
    while (*names != '\0') {
        size_t length = strcspn(names, ",");
        if (!cap_from_name(names, length, caps)) {
            return false;
        }
        names += length;
        if (*names == ',') {
            names++;
        }
    }
    return *caps != 0;
}
