/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "task_end.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#include "esp_freertos_hooks.h" /* after FreeRTOS.h, which it needs if there are two cores */
#include "sdkconfig.h"

#define CORES CONFIG_FREERTOS_NUMBER_OF_CORES

/* In each round an idle task frees the deleted tasks, then calls its hooks. The first call of a hook may be
 * in a round that started before the task was deleted. */
#define ROUNDS 2

static atomic_uint s_rounds[CORES]; /* number of rounds of each core's idle task */

static bool count_round(void)
{
    atomic_fetch_add(&s_rounds[xPortGetCoreID()], 1);
    return true; /* the core may sleep until its next interrupt */
}

/* Registers the hooks and leaves them registered: ESP-IDF would remove all hooks with the same function,
 * including those of other waiting tasks. */
static esp_err_t count_rounds(void)
{
    static atomic_bool s_counting[CORES];
    for (UBaseType_t core = 0; core < CORES; core++) {
        if (atomic_exchange(&s_counting[core], true)) {
            continue;
        }
        esp_err_t err = esp_register_freertos_idle_hook_for_cpu(count_round, core);
        if (err != ESP_OK) {
            atomic_store(&s_counting[core], false);
            return err;
        }
    }
    return ESP_OK;
}

static bool all_went_round(const unsigned since[CORES])
{
    for (int core = 0; core < CORES; core++) {
        if (atomic_load(&s_rounds[core]) - since[core] < ROUNDS) {
            return false;
        }
    }
    return true;
}

static bool is_over(TickType_t start, uint32_t timeout_ms)
{
    return xTaskGetTickCount() - start >= pdMS_TO_TICKS(timeout_ms);
}

static esp_err_t wait_for_idle_tasks(TickType_t start, uint32_t timeout_ms)
{
    esp_err_t err = count_rounds();
    if (err != ESP_OK) {
        return err;
    }
    unsigned since[CORES];
    for (int core = 0; core < CORES; core++) {
        since[core] = atomic_load(&s_rounds[core]);
    }
    while (!all_went_round(since)) {
        if (is_over(start, timeout_ms)) {
            return ESP_ERR_TIMEOUT;
        }
        vTaskDelay(1);
    }
    return ESP_OK;
}

esp_err_t task_end_wait(uint32_t timeout_ms)
{
    return wait_for_idle_tasks(xTaskGetTickCount(), timeout_ms);
}

esp_err_t task_end_wait_for(const char *name, uint32_t timeout_ms)
{
    TickType_t start = xTaskGetTickCount();
    while (xTaskGetHandle(name) != NULL) { /* also finds a deleted task that is not freed yet */
        if (is_over(start, timeout_ms)) {
            return ESP_ERR_TIMEOUT;
        }
        vTaskDelay(1);
    }
    return wait_for_idle_tasks(start, timeout_ms);
}
