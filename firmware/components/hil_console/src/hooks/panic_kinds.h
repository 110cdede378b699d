/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Deliberate panics, each caused by the fault that its kind names.
 */
#pragma once

#include "console_parser.h"
#include "esp_err.h"

/**
 * @brief Prepares a panic of this kind (one of abort, null, store, stack, wdt, task_wdt, heap, iram).
 * @param[out] crash function that causes the panic
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NOT_SUPPORTED: kind iram, but no IRAM is free
 *      - ESP_ERR_NO_MEM: no memory for the block that kind heap or iram needs
 */
esp_err_t panic_prepare(const char *kind, void (**crash)(void));
