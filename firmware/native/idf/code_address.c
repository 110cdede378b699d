/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idf/code_address.h"

#include <stdbool.h>

extern const char __executable_start[], _end[];

uint32_t native_code_offset(uintptr_t address)
{
    bool inside = address >= (uintptr_t)__executable_start && address < (uintptr_t)_end;
    return (uint32_t)(inside ? address - (uintptr_t)__executable_start : address);
}
