/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Code addresses for the log.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Offset into the ELF, for addr2line; an address outside the program is returned unchanged. */
uint32_t native_code_offset(uintptr_t address);
/* True if the address is in the program, not in a library. */
bool native_is_code(uintptr_t address);
