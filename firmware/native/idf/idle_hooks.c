/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Idle hooks: callbacks of components, called each time an idle task has freed the deleted tasks.
 */
#include "idf/idle_hooks.h"

#include <stddef.h>
#include "freertos/FreeRTOS.h" // ESP-IDF requires it before esp_freertos_hooks.h

#include "esp_freertos_hooks.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#define HOOKS_MAX 8 /* per core, as in ESP-IDF */

static esp_freertos_idle_cb_t s_hooks[CONFIG_FREERTOS_NUMBER_OF_CORES][HOOKS_MAX];

void native_idle_hooks_run(int core)
{
    for (int i = 0; i < HOOKS_MAX; i++) {
        if (s_hooks[core][i] != NULL) {
            s_hooks[core][i](); // the result, whether the core may sleep, has no meaning on the host
        }
    }
}

esp_err_t esp_register_freertos_idle_hook_for_cpu(esp_freertos_idle_cb_t new_idle_cb, UBaseType_t cpuid)
{
    if (cpuid >= CONFIG_FREERTOS_NUMBER_OF_CORES) {
        return ESP_ERR_INVALID_ARG;
    }
    for (int i = 0; i < HOOKS_MAX; i++) {
        if (s_hooks[cpuid][i] == NULL) {
            s_hooks[cpuid][i] = new_idle_cb;
            return ESP_OK;
        }
    }
    return ESP_ERR_NO_MEM;
}
