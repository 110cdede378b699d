/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_log_buffer.h.
 */
#pragma once

#include <stdint.h>
#include "esp_log_level.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ESP_LOG_BUFFER_HEX_LEVEL(tag, buffer, buff_len, level)         \
    do {                                                               \
        if (LOG_LOCAL_LEVEL >= (level)) {                              \
            esp_log_buffer_hex_internal(tag, buffer, buff_len, level); \
        }                                                              \
    } while (0)
#define ESP_LOG_BUFFER_CHAR_LEVEL(tag, buffer, buff_len, level)         \
    do {                                                                \
        if (LOG_LOCAL_LEVEL >= (level)) {                               \
            esp_log_buffer_char_internal(tag, buffer, buff_len, level); \
        }                                                               \
    } while (0)
#define ESP_LOG_BUFFER_HEXDUMP(tag, buffer, buff_len, level)               \
    do {                                                                   \
        if (LOG_LOCAL_LEVEL >= (level)) {                                  \
            esp_log_buffer_hexdump_internal(tag, buffer, buff_len, level); \
        }                                                                  \
    } while (0)
#define ESP_LOG_BUFFER_HEX(tag, buffer, buff_len) \
    ESP_LOG_BUFFER_HEX_LEVEL(tag, buffer, buff_len, ESP_LOG_INFO)
#define ESP_LOG_BUFFER_CHAR(tag, buffer, buff_len) \
    ESP_LOG_BUFFER_CHAR_LEVEL(tag, buffer, buff_len, ESP_LOG_INFO)

#ifdef __cplusplus
}
#endif
