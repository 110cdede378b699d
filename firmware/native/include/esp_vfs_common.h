/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_vfs_common.h.
 */
#pragma once

typedef enum {
    ESP_LINE_ENDINGS_CRLF,
    ESP_LINE_ENDINGS_CR,
    ESP_LINE_ENDINGS_LF,
} esp_line_endings_t;
