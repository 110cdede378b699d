/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Deliberate panics, each caused by the real fault.
 */
#pragma once

#include "console_parser.h"
#include "esp_err.h"

/**
 * @brief Prepares a panic of this kind (one of abort, null, store, stack, wdt, task_wdt, heap, iram).
 * @param[out] crash function that causes the panic
 * @return ESP_ERR_NOT_SUPPORTED: iram without free IRAM; ESP_ERR_NO_MEM: no block for kind heap
 */
esp_err_t panic_prepare(const char *kind, void (**crash)(void));
