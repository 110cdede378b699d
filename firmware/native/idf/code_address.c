/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idf/code_address.h"

extern const char __executable_start[], _end[];

bool native_is_code(uintptr_t address)
{
    return address >= (uintptr_t)__executable_start && address < (uintptr_t)_end;
}

uint32_t native_code_offset(uintptr_t address)
{
    return (uint32_t)(native_is_code(address) ? address - (uintptr_t)__executable_start : address);
}
