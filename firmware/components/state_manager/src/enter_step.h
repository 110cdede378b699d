/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include "esp_err.h"

/**
 * Called before each step of a change of state and before each undo. Returns ESP_OK. It is in a separate file
 * so that a test build can wrap it at link time.
 */
esp_err_t state_manager_enter_step(const char *step, bool undo);
