/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tick hooks: callbacks of components, called by the tick interrupt. The host has no such interrupt. Instead,
 * an event fires at each tick while a hook is registered.
 */
#include <stdbool.h>
#include <stddef.h>
#include "freertos/FreeRTOS.h" // ESP-IDF requires it before esp_freertos_hooks.h

#include "esp_freertos_hooks.h"
#include "kernel/clock.h"
#include "kernel/task.h"
#include "sdkconfig.h"

#define HOOKS_MAX 8 /* per core, as in ESP-IDF */

static esp_freertos_tick_cb_t s_hooks[CONFIG_FREERTOS_NUMBER_OF_CORES][HOOKS_MAX];
static native_event_t s_tick;

static void tick(native_event_t *event)
{
    bool called = false;
    for (int core = 0; core < CONFIG_FREERTOS_NUMBER_OF_CORES; core++) {
        for (int i = 0; i < HOOKS_MAX; i++) {
            if (s_hooks[core][i] != NULL) {
                called = true;
                s_hooks[core][i]();
            }
        }
    }
    if (called) {
        native_event_arm(event, native_deadline(1));
    }
}

esp_err_t esp_register_freertos_tick_hook_for_cpu(esp_freertos_tick_cb_t new_tick_cb, UBaseType_t cpuid)
{
    if (cpuid >= CONFIG_FREERTOS_NUMBER_OF_CORES) {
        return ESP_ERR_INVALID_ARG;
    }
    for (int i = 0; i < HOOKS_MAX; i++) {
        if (s_hooks[cpuid][i] == NULL) {
            s_hooks[cpuid][i] = new_tick_cb;
            if (!s_tick.armed) {
                s_tick.fire = tick;
                native_event_arm(&s_tick, native_deadline(1));
            }
            return ESP_OK;
        }
    }
    return ESP_ERR_NO_MEM;
}

void esp_deregister_freertos_tick_hook_for_cpu(esp_freertos_tick_cb_t old_tick_cb, UBaseType_t cpuid)
{
    if (cpuid >= CONFIG_FREERTOS_NUMBER_OF_CORES) {
        return;
    }
    for (int i = 0; i < HOOKS_MAX; i++) {
        if (s_hooks[cpuid][i] == old_tick_cb) {
            s_hooks[cpuid][i] = NULL;
        }
    }
}
