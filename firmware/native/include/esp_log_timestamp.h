/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_log_timestamp.h.
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ms since reset. Once the scheduler runs it moves in whole RTOS ticks, as on the chip. */
uint32_t esp_log_timestamp(void);
/* ms since reset from the clock itself, usable before the scheduler runs. */
uint32_t esp_log_early_timestamp(void);

#ifdef __cplusplus
}
#endif
