/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The core dump in flash.
 */
#pragma once

#include <stdint.h>

#define NATIVE_NO_CAUSE 0xFFFF /* no exception: an abort, or a watchdog */

/* Description of a panic; code and data addresses are the host's. */
typedef struct {
    uintptr_t pc;
    uintptr_t sp;
    uintptr_t address; /* EXCVADDR */
    uint32_t cause;    /* EXCCAUSE, or NATIVE_NO_CAUSE */
    uint32_t reason;   /* esp_reset_reason_t */
    const char *details;
} native_crash_t;

/* At startup: logs ESP-IDF's messages about the core dump partition. */
void native_core_dump_init(void);
/* Saves a core dump in a panic, and logs ESP-IDF's messages. */
void native_core_dump_save(const native_crash_t *crash);
