/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_rom_sys.h.
 */
#pragma once

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include "sdkconfig.h"
#include "soc/reset_reasons.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes directly to the UART, without stdout lock and driver. */
int esp_rom_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int esp_rom_vprintf(const char *fmt, va_list ap);
/* Busy-waits: takes virtual time; tasks of lower priority do not run during it. */
void esp_rom_delay_us(uint32_t us);
void esp_rom_output_to_channels(char c);

#ifdef __cplusplus
}
#endif
