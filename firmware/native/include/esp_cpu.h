/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_cpu.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "esp_attr.h"
#include "esp_err.h"
#include "sdkconfig.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t esp_cpu_cycle_count_t;

static inline bool esp_cpu_dbgr_is_attached(void)
{
    return false;
}

#ifdef __cplusplus
}
#endif
