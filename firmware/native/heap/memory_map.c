/*
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE // MAP_FIXED_NOREPLACE

#include "memory_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0 // old kernels: the address is only a hint, which is checked below
#endif

static const memory_mapping_t *find(const memory_map_t *map, uint32_t address)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (address - map->mappings[i].start < map->mappings[i].length) {
            return &map->mappings[i];
        }
    }
    return NULL;
}

uint8_t *memory_map_host(const memory_map_t *map, uint32_t address)
{
    const memory_mapping_t *mapping = find(map, address);
    return mapping == NULL ? NULL : mapping->host + (address - mapping->start);
}

static bool map_pages(memory_map_t *map, uint32_t start, uint32_t length, char *error, size_t error_size)
{
    if (map->count == MEMORY_MAP_MAX) {
        snprintf(error, error_size, "region 0x%08" PRIx32 ": more than %d regions (raise MEMORY_MAP_MAX)",
                 start, MEMORY_MAP_MAX);
        return false;
    }
    bool fixed = map->backing == HEAP_BACKING_TARGET;
    void *wanted = fixed ? (void *)(uintptr_t)start : NULL;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (fixed ? MAP_FIXED_NOREPLACE : 0);
    void *host = mmap(wanted, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (host == MAP_FAILED || (fixed && host != wanted)) {
        const char *reason = host == MAP_FAILED ? strerror(errno) : "the host chose another address";
        snprintf(error, error_size,
                 "cannot map 0x%08" PRIx32 " to 0x%08" PRIx32
                 ": %s (the process already uses these addresses; "
                 "build the program position independent)",
                 start, start + length - 1, reason);
        if (host != MAP_FAILED) {
            munmap(host, length);
        }
        return false;
    }
    map->mappings[map->count++] = (memory_mapping_t){.start = start, .length = length, .host = host};
    return true;
}

bool memory_map_add(memory_map_t *map, uint32_t start, uint32_t length, char *error, size_t error_size)
{
    if (map->backing == HEAP_BACKING_PRIVATE) {
        return map_pages(map, start, length, error, error_size);
    }
    /* Regions are not whole pages, so neighbours may share one. */
    uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
    uint32_t first = start & ~(page - 1);
    uint32_t end = (start + length + page - 1) & ~(page - 1);
    while (first < end) {
        if (find(map, first) != NULL) {
            first += page;
            continue;
        }
        uint32_t stop = first + page;
        while (stop < end && find(map, stop) == NULL) {
            stop += page;
        }
        if (!map_pages(map, first, stop - first, error, error_size)) {
            return false;
        }
        first = stop;
    }
    return true;
}

void memory_map_free(memory_map_t *map)
{
    for (uint32_t i = 0; i < map->count; i++) {
        munmap(map->mappings[i].host, map->mappings[i].length);
    }
    map->count = 0;
}
