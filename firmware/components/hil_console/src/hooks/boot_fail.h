/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Makes the next start fail on purpose. RTC memory keeps the failure over a reset by software; a power-on
 * forgets it. A call is armed when app_main begins, an allocation before the memory manager is initialised,
 * which is the first to report one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** heap_fail_arm() in the next start. */
void boot_fail_allocation(uint32_t caps, uint32_t nth, uint32_t count, uint32_t also);

/**
 * @brief idf_calls_fail() in the next start.
 * @return false if this function cannot be made to fail; no state is changed then
 */
bool boot_fail_call(const char *name, uint32_t nth, uint32_t count);

void boot_fail_disarm(void);

/** True if the next start is to fail. */
bool boot_fail_armed(void);

/** Arms the allocation that is to fail in this start, if any. */
void boot_fail_begin_allocations(void);
