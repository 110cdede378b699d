/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reset of the chip.
 */
#pragma once

#include <stdint.h>

void native_system_init(void);
void native_reset(uint32_t rom_cause) __attribute__((noreturn));
