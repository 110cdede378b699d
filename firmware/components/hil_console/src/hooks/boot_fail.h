/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Makes an ESP-IDF call or an allocation fail in the next boot. The plan is kept in RTC memory, which
 * survives a software reset but not a power-on. Calls are counted from the start of app_main. Allocations are
 * counted from just before memory_manager_init(): failed allocations are reported only after it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** Calls heap_fail_arm() with these arguments in the next boot. */
void boot_fail_allocation(uint32_t caps, uint32_t nth, uint32_t count, uint32_t also);

/**
 * @brief Calls idf_calls_fail() with these arguments in the next boot.
 * @return false if this function cannot be made to fail; no state is changed then
 */
bool boot_fail_call(const char *name, uint32_t nth, uint32_t count);

void boot_fail_disarm(void);

/** True if a failure is planned for the next boot. */
bool boot_fail_armed(void);

/** Arms the allocation that is to fail in this boot, if any. */
void boot_fail_begin_allocations(void);
