/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Deliberate panics. Each kind is named after the fault that causes the panic.
 */
#pragma once

#include "console_parser.h"
#include "esp_err.h"

/**
 * @brief Finds the panic of this kind (one of abort, null, store, stack, wdt, task_wdt, heap, iram).
 * Leaves nothing allocated: kinds heap and iram allocate their block when they crash.
 * @param[out] crash function that causes the panic; it returns if no memory is left for its block, and kind
 *             iram on an emulated chip
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NOT_FOUND: unknown kind
 *      - ESP_ERR_NOT_SUPPORTED: kind iram, but no IRAM is free
 *      - ESP_ERR_NO_MEM: no memory for the block that kind heap or iram needs
 */
esp_err_t panic_find(const char *kind, void (**crash)(void));
