/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The test console on the log's UART: commands that read the board's state, put it under load, and make it
 * fail on purpose (firmware/README.md lists them). Compiled only with CONFIG_HOTPIN_HIL_CONSOLE.
 */
#pragma once

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @brief Calls the API of the memory manager and of the optional components before memory_manager_init(), and
 * stores the return codes for the command mem.api. Each call must be refused and change nothing.
 */
void hil_console_before_init(void);

/**
 * @brief Starts the console task. Call it after telemetry_init(), which installs the UART driver.
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already started, or no UART driver is installed
 *      - ESP_ERR_NO_MEM: no memory for the task's stack
 */
esp_err_t hil_console_start(void);

#ifdef __cplusplus
}
#endif
