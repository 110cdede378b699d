/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The test console on the log's UART: commands that read, load and break the board on purpose
 * (firmware/README.md lists them). Only in builds with CONFIG_HOTPIN_HIL_CONSOLE; others hold none of it.
 */
#pragma once

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @brief Calls the memory manager's API and keeps the return codes, for the command mem.api.
 *
 * Before memory_manager_init(): what it tries out is that each call is refused and that refused thresholds
 * are not kept.
 */
void hil_console_before_init(void);

/**
 * @brief Starts the console's task. After telemetry_init(), which owns the UART driver.
 * @return ESP_ERR_INVALID_STATE: it runs already, or there is no UART driver; ESP_ERR_NO_MEM: no room for its
 * stack
 */
esp_err_t hil_console_start(void);

#ifdef __cplusplus
}
#endif
