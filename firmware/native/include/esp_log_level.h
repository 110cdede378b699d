/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_log_level.h.
 */
#pragma once

#include <stdint.h>
#include "sdkconfig.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    ESP_LOG_NONE = 0,
    ESP_LOG_ERROR = 1,
    ESP_LOG_WARN = 2,
    ESP_LOG_INFO = 3,
    ESP_LOG_DEBUG = 4,
    ESP_LOG_VERBOSE = 5,
    ESP_LOG_MAX = 6,
} esp_log_level_t;

#ifndef LOG_LOCAL_LEVEL
#define LOG_LOCAL_LEVEL CONFIG_LOG_MAXIMUM_LEVEL
#endif

#define _ESP_LOG_ENABLED(log_level) (LOG_LOCAL_LEVEL >= (log_level))
#define _ESP_LOG_EARLY_ENABLED(log_level) \
    (LOG_LOCAL_LEVEL >= (log_level) && esp_log_get_default_level() >= (log_level))

extern esp_log_level_t esp_log_default_level;

static inline esp_log_level_t esp_log_get_default_level(void)
{
    return esp_log_default_level;
}

esp_log_level_t esp_log_level_get(const char *tag);

void esp_log_level_set(const char *tag, esp_log_level_t level);

#ifdef __cplusplus
}
#endif
