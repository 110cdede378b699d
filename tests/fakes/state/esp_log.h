/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdio.h>
#define ESP_LOGE(tag, ...) ((void)snprintf(NULL, 0, __VA_ARGS__), (void)tag)
#define ESP_LOGW ESP_LOGE
#define ESP_LOGI ESP_LOGE
#define ESP_LOGD ESP_LOGE
