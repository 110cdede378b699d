/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The params file: the board's parameters for this run of the firmware process.
 */
#include "chip/params.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "heap/esp_heap_model.h"
#include "kernel/object.h"

native_params_t g_native_params = {
    .mac = {0x24, 0x0a, 0xc4, 0x00, 0x00, 0x01},
    .chip_revision = 301,
    .rom_cause = 1,
    .start_us = 900000,
    .time_scale = 1.0,
    .faults_fd = -1,
};

static const char *s_path;
static int s_line;
static bool (*s_fault_line)(char *line);

static void __attribute__((noreturn)) bad_line(const char *text, const char *why)
{
    fprintf(stderr, "native: %s:%d: %s: %s\n", s_path, s_line, text, why);
    exit(2);
}

static uint64_t number(const char *key, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 0);
    if (errno != 0 || end == value || *end != '\0') {
        bad_line(key, "not a number");
    }
    return n;
}

static bool hex_bytes(const char *text, uint8_t *bytes, size_t count, char separator)
{
    for (size_t i = 0; i < count; i++) {
        int used = 0;
        unsigned value;
        if (sscanf(text, "%2x%n", &value, &used) != 1 || used != 2) {
            return false;
        }
        bytes[i] = (uint8_t)value;
        text += 2;
        if (separator != '\0' && i + 1 < count && *text++ != separator) {
            return false;
        }
    }
    return *text == '\0';
}

static void set(const char *key, char *value)
{
    native_params_t *p = &g_native_params;
    if (strcmp(key, "mac") == 0) {
        if (!hex_bytes(value, p->mac, 6, ':')) {
            bad_line(key, "not six bytes like 24:0a:c4:00:00:01");
        }
    } else if (strcmp(key, "chip_revision") == 0) {
        p->chip_revision = (uint32_t)number(key, value);
    } else if (strcmp(key, "psram_bytes") == 0) {
        p->psram_bytes = (uint32_t)number(key, value);
    } else if (strcmp(key, "cores") == 0) {
        g_native_cores = (unsigned)number(key, value);
        if (g_native_cores != 1 && g_native_cores != 2) {
            bad_line(key, "not 1 or 2");
        }
    } else if (strcmp(key, "flash_file") == 0) {
        p->flash_file = strdup(value);
    } else if (strcmp(key, "rtc_file") == 0) {
        p->rtc_file = strdup(value);
    } else if (strcmp(key, "rom_cause") == 0) {
        p->rom_cause = (uint32_t)number(key, value);
    } else if (strcmp(key, "start_us") == 0) {
        p->start_us = number(key, value);
    } else if (strcmp(key, "uptime_us") == 0) {
        p->uptime_us = number(key, value);
    } else if (strcmp(key, "clock_held") == 0) {
        p->clock_held = number(key, value) != 0;
    } else if (strcmp(key, "seed") == 0) {
        p->seed = number(key, value);
    } else if (strcmp(key, "time_scale") == 0) {
        char *end;
        p->time_scale = strtod(value, &end);
        if (end == value || *end != '\0' || !(p->time_scale >= 0 && p->time_scale <= 1e6)) {
            bad_line(key, "not a number from 0 to 1000000");
        }
    } else if (strcmp(key, "uart_paced") == 0) {
        p->uart_paced = number(key, value) != 0;
    } else if (strcmp(key, "elf_sha256") == 0) {
        if (!hex_bytes(value, p->elf_sha256, 32, '\0')) {
            bad_line(key, "not 64 hex digits");
        }
    } else if (strcmp(key, "project_name") == 0) {
        p->project_name = strdup(value);
    } else if (strcmp(key, "project_version") == 0) {
        p->project_version = strdup(value);
    } else if (strcmp(key, "idf_version") == 0) {
        p->idf_version = strdup(value);
    } else if (strcmp(key, "faults_fd") == 0) {
        p->faults_fd = (int)number(key, value);
    } else if (strcmp(key, "fault") == 0) {
        if (!s_fault_line(value)) {
            bad_line(key, "unknown fault");
        }
    } else if (strcmp(key, "app_offset") == 0) {
        (void)number(key, value); // the app does not use the partition's address in flash
    } else if (strcmp(key, "heap") == 0 || strcmp(key, "pool") == 0 || strcmp(key, "startup") == 0 ||
               strcmp(key, "free") == 0) {
        if (!heap_system_boot_line(p->heap, key, value)) {
            bad_line(key, heap_system_error(p->heap));
        }
    } else {
        bad_line(key, "unknown key");
    }
}

void native_params_load(const char *path, bool (*fault_line)(char *line))
{
    s_fault_line = fault_line;
    s_path = path;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "native: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    g_native_params.heap = heap_system_create(HEAP_BACKING_TARGET);
    if (g_native_params.heap == NULL) {
        fprintf(stderr, "native: no memory for the heap model\n");
        exit(2);
    }
    char line[4096];
    while (fgets(line, sizeof line, file) != NULL) {
        s_line++;
        line[strcspn(line, "\r\n")] = '\0';
        char *key = line + strspn(line, " \t");
        if (*key == '\0' || *key == '#') {
            continue;
        }
        char *value = strchr(key, '=');
        if (value == NULL) {
            bad_line(key, "not key=value");
        }
        *value++ = '\0';
        set(key, value);
    }
    fclose(file);
    if (g_native_params.flash_file == NULL || g_native_params.rtc_file == NULL) {
        fprintf(stderr, "native: %s: flash_file and rtc_file are needed\n", path);
        exit(2);
    }
    if (heap_system_count(g_native_params.heap) == 0) {
        fprintf(stderr, "native: %s: no heap line\n", path);
        exit(2);
    }
}
