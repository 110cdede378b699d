/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of this run of the firmware process, set by the board.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "heap/esp_heap_model.h"

typedef struct {
    uint8_t mac[6];
    uint32_t chip_revision; /* major * 100 + minor */
    uint32_t psram_bytes;   /* 0: none */
    const char *flash_file;
    const char *rtc_file;
    uint32_t rom_cause; /* ROM reset code */
    uint64_t start_us;  /* virtual time when the app starts, us */
    uint64_t uptime_us; /* uptime when the app starts, us; lets it start shortly before a counter wraps */
    bool clock_held;    /* the clock stops while all tasks wait, until a `run` request on faults_fd */
    uint64_t seed;
    double time_scale; /* virtual seconds per host second; 0: as fast as possible */
    bool uart_paced;   /* bytes reach the host when a real serial line would deliver them */
    int faults_fd;     /* socket for fault requests; -1: none */
    uint8_t elf_sha256[32];
    const char *project_name; /* from the app description, like the next two; NULL: the value of this build */
    const char *project_version;
    const char *idf_version;
    heap_system_t *heap;
} native_params_t;

extern native_params_t g_native_params;

/*
 * Reads the file and sets up the heap from its lines. An invalid line ends the process with a message on
 * stderr. fault_line: receives the value of each fault= line; returns false if the fault is unknown.
 */
void native_params_load(const char *path, bool (*fault_line)(char *line));
