/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two tasks use the state here: a callback in the monitor task, and the console.
 */
#include "callback_calls.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api_out.h"
#include "array_size.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "sdkconfig.h"

#define BLOCK_MS 10
#define BLOCKS_MAX 500 /* 5 s */

static atomic_bool s_go;         /* ends a blocked callback */
static atomic_bool s_is_blocked; /* a callback is waiting for s_go */

/** Blocks the caller until mem.callbacks go=1, so that a test can see which tasks a blocked callback
 * delays. */
static esp_err_t block(void)
{
    esp_err_t err = ESP_ERR_TIMEOUT;
    s_is_blocked = true;
    for (int i = 0; i < BLOCKS_MAX && err != ESP_OK; i++) {
        err = atomic_exchange(&s_go, false) ? ESP_OK : ESP_ERR_TIMEOUT;
        vTaskDelay(err == ESP_OK ? 0 : pdMS_TO_TICKS(BLOCK_MS));
    }
    s_is_blocked = false;
    return err;
}

static void ignore(const memory_warning_t *warning)
{
    (void)warning;
}

static esp_err_t register_and_unregister(void)
{
    esp_err_t err = memory_manager_register_warning_callback(ignore);
    return err == ESP_OK ? memory_manager_unregister_warning_callback(ignore) : err;
}

static esp_err_t allocate(void)
{
    void *block = heap_caps_malloc(64, MALLOC_CAP_DMA);
    heap_caps_free(block);
    return block != NULL ? ESP_OK : ESP_ERR_NO_MEM;
}

static esp_err_t set_same_thresholds(void)
{
    esp_err_t err = memory_manager_get_thresholds(&api_out()->thresholds);
    return err == ESP_OK ? memory_manager_set_thresholds(&api_out()->thresholds) : err;
}

static esp_err_t place(void)
{
    static const size_t SIZES[] = {64, 128};
    return memory_manager_place(MALLOC_CAP_DMA, SIZES, ARRAY_SIZE(SIZES), &api_out()->placement);
}

static esp_err_t panic_now(void)
{
    abort();
}

/* X(name, call): calls that the first callback can make. The test requires ESP_OK from each call that
 * returns. */
#define CALLBACK_CALLS(X)                                                                   \
    X(allocate, allocate())                                                                 \
    X(block, block())                                                                       \
    X(check_thresholds, memory_manager_check_thresholds())                                  \
    X(get_baseline, memory_manager_get_baseline(NULL, &api_out()->baseline))                \
    X(get_delta, memory_manager_get_delta(NULL, &api_out()->delta))                         \
    X(get_events, memory_manager_get_events(0, &api_out()->event, 1, &api_out()->count))    \
    X(get_history, memory_manager_get_history(&api_out()->snapshot, 1, &api_out()->count))  \
    X(get_monitoring, memory_manager_get_monitoring(&api_out()->monitoring))                \
    X(get_self, memory_manager_get_self(&api_out()->self))                                  \
    X(get_stats, memory_manager_get_stats(&api_out()->stats))                               \
    X(log_stats, memory_manager_log_stats("From Callback"))                                 \
    X(optimize, memory_manager_optimize())                                                  \
    X(panic, panic_now())                                                                   \
    X(place, place())                                                                       \
    X(register, register_and_unregister())                                                  \
    X(set_baseline, memory_manager_set_baseline("inside"))                                  \
    X(set_thresholds, set_same_thresholds())                                                \
    X(start_monitoring, memory_manager_start_monitoring(CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS)) \
    X(stop_monitoring, memory_manager_stop_monitoring())

#define CALL_FUNCTION(name, call)               \
    static esp_err_t callback_call_##name(void) \
    {                                           \
        return call;                            \
    }
#define CALL_ENTRY(name, call) {#name, callback_call_##name},
CALLBACK_CALLS(CALL_FUNCTION)
static const api_case_t CALLS[] = {CALLBACK_CALLS(CALL_ENTRY)};

static const api_case_t *volatile s_first_calls; /* call that the first callback makes; NULL: none */
static volatile esp_err_t s_called = ESP_ERR_NOT_FINISHED;
static volatile bool s_is_inside; /* prevents recursion: a call that checks thresholds may call back */
static volatile bool s_first_logs;

const api_case_t *callback_calls_at(size_t index)
{
    return index < ARRAY_SIZE(CALLS) ? &CALLS[index] : NULL;
}

const api_case_t *callback_calls_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(CALLS); i++) {
        if (strcmp(CALLS[i].name, name) == 0) {
            return &CALLS[i];
        }
    }
    return NULL;
}

void callback_calls_set(const api_case_t *call)
{
    s_go = false;
    s_called = ESP_ERR_NOT_FINISHED;
    s_first_calls = call;
}

void callback_calls_log(void)
{
    s_first_logs = true;
}

void callback_calls_reset(void)
{
    s_first_logs = false;
    s_first_calls = NULL;
}

void callback_calls_unblock(void)
{
    s_go = true;
}

esp_err_t callback_calls_error(void)
{
    return s_called;
}

bool callback_calls_is_blocked(void)
{
    return s_is_blocked;
}

void callback_calls_run(bool recovery)
{
    const api_case_t *call = s_first_calls;
    if (s_first_logs) {
        memory_manager_get_stats(&api_out()->stats);
        memory_manager_log_stats(recovery ? "Recovery Callback" : "Warning Callback");
    }
    if (call != NULL && !s_is_inside) {
        s_is_inside = true;
        esp_err_t err = call->run();
        s_called = s_called == ESP_ERR_NOT_FINISHED || s_called == ESP_OK ? err : s_called;
        s_is_inside = false;
    }
}
