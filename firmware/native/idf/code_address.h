/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Code addresses as the log shows them.
 */
#pragma once

#include <stdint.h>

/* Offset into the ELF, which is what addr2line takes; an address outside of the program as it is. */
uint32_t native_code_offset(uintptr_t address);
