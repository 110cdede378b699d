/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ways to die, each as the real fault does it.
 */
#pragma once

#include "console_parser.h"
#include "esp_err.h"

/**
 * @brief Prepares a panic of this kind (one of abort, null, store, stack, wdt, task_wdt, heap, iram).
 * @param[out] crash calling it does it
 * @return ESP_ERR_NOT_SUPPORTED: iram, and the allocator gave no IRAM; ESP_ERR_NO_MEM: no block for heap
 */
esp_err_t panic_prepare(const char *kind, void (**crash)(void));
