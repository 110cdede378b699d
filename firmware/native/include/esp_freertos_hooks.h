/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_freertos_hooks.h.
 */
#pragma once

#ifndef configNUMBER_OF_CORES
#error "include freertos/FreeRTOS.h first: ESP-IDF's header needs it if there are two cores"
#endif

#include <stdbool.h>
#include "freertos/FreeRTOS.h"
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef bool (*esp_freertos_idle_cb_t)(void);
typedef void (*esp_freertos_tick_cb_t)(void);

/* Registers a callback that runs each time the core's idle task gets the CPU, after it has freed the
 * deleted tasks. ESP_ERR_INVALID_ARG: no such core; ESP_ERR_NO_MEM: all eight slots are in use. */
esp_err_t esp_register_freertos_idle_hook_for_cpu(esp_freertos_idle_cb_t new_idle_cb, UBaseType_t cpuid);

/* Registers a callback that the core's tick interrupt calls. On the host both cores have one tick interrupt.
 * ESP_ERR_INVALID_ARG: no such core; ESP_ERR_NO_MEM: all eight slots are in use. */
esp_err_t esp_register_freertos_tick_hook_for_cpu(esp_freertos_tick_cb_t new_tick_cb, UBaseType_t cpuid);
void esp_deregister_freertos_tick_hook_for_cpu(esp_freertos_tick_cb_t old_tick_cb, UBaseType_t cpuid);

#ifdef __cplusplus
}
#endif
