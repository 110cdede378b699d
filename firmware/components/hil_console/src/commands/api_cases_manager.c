/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Edge cases of the memory manager's API.
 */
#include "api_case.h"
#include "api_out.h"
#include "array_size.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "memory_manager.h"
#include "recorders.h"
#include "sdkconfig.h"

#define NO_SUCH_BLOCK (1024 * 1024) /* more than the chip's internal memory */

/** Registers callbacks until the list is full, then removes them again. Callbacks of mem.callbacks stay
 * registered. @return the last error */
static esp_err_t fill(const memory_warning_callback_t *callbacks, esp_err_t (*add)(memory_warning_callback_t),
                      esp_err_t (*take)(memory_warning_callback_t))
{
    unsigned end = recorders_registered();
    esp_err_t err = ESP_OK;
    while (end < RECORDERS_MAX && err == ESP_OK) {
        err = add(callbacks[end]);
        end += err == ESP_OK;
    }
    while (end > recorders_registered()) {
        take(callbacks[--end]);
    }
    return err;
}

/** Registers a recorder while only the list of recovery callbacks is full. @return result of unregistering
 * its warning callback, which must not be registered any more */
static esp_err_t register_half(void)
{
    const unsigned last = RECORDERS_MAX - 1;
    unsigned end = recorders_registered();
    while (end < last && memory_manager_register_recovery_callback(RECORDERS_ON_RECOVERY[end]) == ESP_OK) {
        end++;
    }
    esp_err_t err = recorders_register(last);
    esp_err_t left = memory_manager_unregister_warning_callback(RECORDERS_ON_WARNING[last]);
    while (end > recorders_registered()) {
        memory_manager_unregister_recovery_callback(RECORDERS_ON_RECOVERY[--end]);
    }
    return err == ESP_ERR_NO_MEM ? left : ESP_ERR_INVALID_STATE;
}

/** Makes an allocation fail with interrupts off, when the failure callback cannot lock, allocate or print. */
static esp_err_t fail_in_critical_section(void)
{
    static portMUX_TYPE s_critical = portMUX_INITIALIZER_UNLOCKED;
    portENTER_CRITICAL(&s_critical);
    void *block = heap_caps_malloc(NO_SUCH_BLOCK, MALLOC_CAP_DMA);
    portEXIT_CRITICAL(&s_critical);
    heap_caps_free(block);
    return block == NULL ? ESP_ERR_NO_MEM : ESP_OK;
}

#define WITH(use, field, value)                                       \
    ({                                                                \
        memory_thresholds_t thresholds = MEMORY_THRESHOLDS_DEFAULT(); \
        thresholds.field = (value);                                   \
        use(&thresholds);                                             \
    })

/* Contradictory thresholds, which both memory_manager_init() and memory_manager_set_thresholds() refuse. */
#define THRESHOLD_CASES(X, prefix, use)                                                         \
    X(prefix##internal_critical_above_warning, WITH(use, internal_ram_critical, 50 * 1024 + 1)) \
    X(prefix##dma_critical_above_warning, WITH(use, dma_capable_critical, 35 * 1024 + 1))       \
    X(prefix##psram_critical_above_warning, WITH(use, psram_critical, 500 * 1024 + 1))          \
    X(prefix##fragmentation_critical_below_warning, WITH(use, fragmentation_critical, 29))      \
    X(prefix##percent_over_100, WITH(use, fragmentation_critical, 101))

/* X(name, call). hil_console_before_init() makes each call once; mem.api case=before_init.<name> reports the
 * result. */
#define BEFORE_INIT_CASES(X)                                                                           \
    X(get_stats, memory_manager_get_stats(&api_out()->stats))                                          \
    X(start_monitoring, memory_manager_start_monitoring(15000))                                        \
    X(stop_monitoring, memory_manager_stop_monitoring())                                               \
    X(get_monitoring, memory_manager_get_monitoring(&api_out()->monitoring))                           \
    X(log_stats, memory_manager_log_stats("Edge Case"))                                                \
    X(get_thresholds, memory_manager_get_thresholds(&api_out()->thresholds))                           \
    X(set_thresholds, memory_manager_set_thresholds(NULL))                                             \
    X(register_warning_callback, memory_manager_register_warning_callback(RECORDERS_ON_WARNING[0]))    \
    X(register_recovery_callback, memory_manager_register_recovery_callback(RECORDERS_ON_RECOVERY[0])) \
    X(check_thresholds, memory_manager_check_thresholds())                                             \
    X(get_events, memory_manager_get_events(0, &api_out()->event, 1, &api_out()->count))               \
    X(get_history, memory_manager_get_history(&api_out()->snapshot, 1, &api_out()->count))             \
    X(get_baseline, memory_manager_get_baseline(NULL, &api_out()->baseline))                           \
    X(set_baseline, memory_manager_set_baseline(NULL))                                                 \
    X(optimize, memory_manager_optimize())                                                             \
    X(get_self, memory_manager_get_self(&api_out()->self))                                             \
    THRESHOLD_CASES(X, init_, memory_manager_init)

#define MANAGER_CASES(X)                                                                              \
    X(init_again, memory_manager_init(NULL))                                                          \
    X(get_stats_null, memory_manager_get_stats(NULL))                                                 \
    X(get_thresholds_null, memory_manager_get_thresholds(NULL))                                       \
    X(get_monitoring_null, memory_manager_get_monitoring(NULL))                                       \
    X(get_baseline_null, memory_manager_get_baseline(NULL, NULL))                                     \
    X(get_self_null, memory_manager_get_self(NULL))                                                   \
    X(get_history_null, memory_manager_get_history(NULL, 1, &api_out()->count))                       \
    X(get_events_null, memory_manager_get_events(0, NULL, 1, &api_out()->count))                      \
    X(place_null, memory_manager_place(1, NULL, 1, &api_out()->placement))                            \
    X(log_stats_null, memory_manager_log_stats(NULL))                                                 \
    X(callback_null, memory_manager_register_warning_callback(NULL))                                  \
    X(recovery_callback_null, memory_manager_register_recovery_callback(NULL))                        \
    X(callbacks_full, fill(RECORDERS_ON_WARNING, memory_manager_register_warning_callback,            \
                           memory_manager_unregister_warning_callback))                               \
    X(recovery_callbacks_full, fill(RECORDERS_ON_RECOVERY, memory_manager_register_recovery_callback, \
                                    memory_manager_unregister_recovery_callback))                     \
    X(recorder_half_registered, register_half())                                                      \
    X(unregister_unknown,                                                                             \
      memory_manager_unregister_warning_callback(RECORDERS_ON_WARNING[RECORDERS_MAX - 1]))            \
    X(start_zero, memory_manager_start_monitoring(0))                                                 \
    X(start_below_minimum, memory_manager_start_monitoring(CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS - 1))    \
    X(fail_in_critical_section, fail_in_critical_section())                                           \
    X(thresholds_critical_above_warning,                                                              \
      WITH(memory_manager_set_thresholds, internal_ram_critical, 50 * 1024 + 1))                      \
    THRESHOLD_CASES(X, thresholds_, memory_manager_set_thresholds)

BEFORE_INIT_CASES(API_CASE_FUNCTION)
MANAGER_CASES(API_CASE_FUNCTION)

static const api_case_t BEFORE_INIT[] = {BEFORE_INIT_CASES(API_CASE_ENTRY)};
static const api_case_t MANAGER[] = {MANAGER_CASES(API_CASE_ENTRY)};
static esp_err_t s_results[ARRAY_SIZE(BEFORE_INIT)];

const api_cases_t API_CASES_BEFORE_INIT = {BEFORE_INIT, ARRAY_SIZE(BEFORE_INIT), s_results};
const api_cases_t API_CASES_MANAGER = {MANAGER, ARRAY_SIZE(MANAGER), NULL};
