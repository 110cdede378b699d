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

/* Time since reset, ms. As on the chip, it advances in whole RTOS ticks once the scheduler is running. */
uint32_t esp_log_timestamp(void);
/* Time since reset, ms, directly from the clock; also works before the scheduler is running. */
uint32_t esp_log_early_timestamp(void);

#ifdef __cplusplus
}
#endif
