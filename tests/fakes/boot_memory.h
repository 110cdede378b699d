/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A board's heaps as they are when the application starts, for programs that test firmware sources.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "esp_heap_model.h"

/** Creates the heaps from the KEY=VALUE lines on standard input. @return NULL if a line is wrong */
static inline heap_system_t *boot_memory(void)
{
    char line[256];
    heap_system_t *system = heap_system_create(HEAP_BACKING_TARGET);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *value = strchr(line, '=');
        line[strcspn(line, "\n")] = '\0';
        *value++ = '\0';
        if (!heap_system_boot_line(system, line, value)) {
            fprintf(stderr, "%s\n", heap_system_error(system));
            return NULL;
        }
    }
    return system;
}
