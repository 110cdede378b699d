/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers of the chip; the ROM's functions are in esp_rom_sys.h.
 */
#pragma once

void native_random_init(void);
