/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers of the chip. esp_rom_sys.h declares the ROM's functions.
 */
#pragma once

void native_random_init(void);
