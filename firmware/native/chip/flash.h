/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The flash, backed by a file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void native_flash_init(void);
/* Pointer to the flash content at this address, writable in place; NULL if the range is outside the flash.
 * For the panic handler, which must not block or allocate. */
uint8_t *native_flash_at(uint32_t address, uint32_t length);
/* Finds the first data partition of a subtype without loading the partition list, which would allocate. */
bool native_flash_find_data(uint8_t subtype, uint32_t *address, uint32_t *size, char label[17]);
