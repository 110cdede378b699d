/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Output through the console UART's driver.
 */
#pragma once

#include "esp_err.h"

/** Installs the driver, and makes ESP_LOGx write each line to it in one piece. */
esp_err_t telemetry_output_init(void);
