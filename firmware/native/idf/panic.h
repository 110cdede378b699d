/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Panics, in the format of ESP-IDF's panic handler.
 */
#pragma once

#include <stdint.h>

/* Installs handlers for the host's faults, the detection of hangs, and the kernel's and the heap's hooks. */
void native_panic_init(void);
/* Each of these functions prints output like ESP-IDF's panic handler, saves a core dump and resets. details:
 * the line of an abort or a failed assert; reason: an esp_reset_reason_t. */
void native_panic(const char *details, uint32_t reason) __attribute__((noreturn));
/* abort() was called at pc. note: the reason if the chip would not print it, or NULL. */
void native_abort_at(const void *pc, const char *note) __attribute__((noreturn));
/* Call it after the task watchdog has printed its lines. */
void native_panic_task_wdt(void) __attribute__((noreturn));
