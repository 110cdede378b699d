/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "enter_step.h"

esp_err_t state_manager_enter_step(const char *step, bool undo)
{
    (void)step;
    (void)undo;
    return ESP_OK;
}
