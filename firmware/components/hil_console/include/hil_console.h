/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The test console on the log's UART: commands that read, load and break the board on purpose
 * (firmware/README.md lists them). Compiled only with CONFIG_HOTPIN_HIL_CONSOLE.
 */
#pragma once

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @brief Calls the memory manager's API and stores the return codes for the command mem.api.
 *
 * To be called before memory_manager_init(): each call must be refused, and refused thresholds must not be
 * stored.
 */
void hil_console_before_init(void);

/**
 * @brief Starts the console task. To be called after telemetry_init(), which owns the UART driver.
 * @return ESP_ERR_INVALID_STATE: already started, or no UART driver is installed; ESP_ERR_NO_MEM: no memory
 * for its stack
 */
esp_err_t hil_console_start(void);

#ifdef __cplusplus
}
#endif
