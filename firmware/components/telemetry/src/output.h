/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The console UART under stdout.
 */
#pragma once

#include "esp_err.h"

/** Installs the driver and sends log lines through it in one piece each. */
esp_err_t telemetry_output_init(void);
