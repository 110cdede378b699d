/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Code addresses for the log.
 */
#pragma once

#include <stdint.h>

/* Offset into the ELF, for addr2line; an address outside the program is returned unchanged. */
uint32_t native_code_offset(uintptr_t address);
