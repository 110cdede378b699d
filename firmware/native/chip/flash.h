/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The flash: a file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void native_flash_init(void);
/* Pointer to the flash content at this address, writable in place; NULL if the range is outside. For the
 * panic handler, which must not wait or allocate. */
uint8_t *native_flash_at(uint32_t address, uint32_t length);
/* The first data partition of a subtype, without loading (and allocating) the list of partitions. */
bool native_flash_find_data(uint8_t subtype, uint32_t *address, uint32_t *size, char label[17]);
