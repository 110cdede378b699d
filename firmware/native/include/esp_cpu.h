/* Host stand-in for ESP-IDF's esp_cpu.h. */
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

int esp_cpu_get_core_id(void);
/* Virtual time in CPU cycles; reading it costs 1 us of virtual time (see esp_timer_get_time). */
esp_cpu_cycle_count_t esp_cpu_get_cycle_count(void);
bool esp_cpu_compare_and_set(volatile uint32_t *addr, uint32_t compare_value, uint32_t new_value);

static inline bool esp_cpu_dbgr_is_attached(void)
{
    return false;
}

#ifdef __cplusplus
}
#endif
