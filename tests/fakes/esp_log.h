/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdint.h>
typedef enum { ESP_LOG_NONE, ESP_LOG_ERROR, ESP_LOG_WARN, ESP_LOG_INFO } esp_log_level_t;
#define LOG_LOCAL_LEVEL ESP_LOG_INFO
#define LOG_COLOR_I ""
#define LOG_COLOR_W ""
#define LOG_RESET_COLOR ""
static inline esp_log_level_t esp_log_level_get(const char *tag)
{
    (void)tag;
    return ESP_LOG_INFO;
}
uint32_t esp_log_timestamp(void);
