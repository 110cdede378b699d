/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.api: edge cases of the memory manager's API, run on the board. mem.callbacks: callbacks that note their
 * calls.
 */
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "hil_console.h"
#include "memory_manager.h"
#include "sdkconfig.h"

/* Callbacks */

#define RECORDERS (MEMORY_CALLBACKS_MAX + 1) /* one more than the list takes */
#define CALLS_MAX 48

typedef struct {
    memory_warning_t warning;
    uint8_t callback;
    bool recovery;
} call_t;

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static call_t s_calls[CALLS_MAX];
static uint32_t s_call_count; /* of all calls; those beyond CALLS_MAX are only counted */
static unsigned s_registered;
static volatile bool s_first_logs;

static void note_call(uint8_t callback, bool recovery, const memory_warning_t *warning)
{
    portENTER_CRITICAL(&s_lock);
    if (s_call_count < CALLS_MAX) {
        s_calls[s_call_count] = (call_t){*warning, callback, recovery};
    }
    s_call_count++;
    portEXIT_CRITICAL(&s_lock);
    if (callback == 0 && s_first_logs) {
        static memory_stats_t s_stats; /* nobody reads it, and the monitor's stack is small */
        memory_manager_get_stats(&s_stats);
        memory_manager_log_stats(recovery ? "Recovery Callback" : "Warning Callback");
    }
}

/* A callback has no argument of its own, so each recorder is a pair of functions. */
#define RECORDER(n)                                              \
    static void on_warning_##n(const memory_warning_t *warning)  \
    {                                                            \
        note_call(n, false, warning);                            \
    }                                                            \
    static void on_recovery_##n(const memory_warning_t *warning) \
    {                                                            \
        note_call(n, true, warning);                             \
    }

RECORDER(0)
RECORDER(1)
RECORDER(2)
RECORDER(3)
RECORDER(4)
RECORDER(5)
RECORDER(6)
RECORDER(7)
RECORDER(8)

static const memory_warning_callback_t ON_WARNING[] = {
    on_warning_0, on_warning_1, on_warning_2, on_warning_3, on_warning_4,
    on_warning_5, on_warning_6, on_warning_7, on_warning_8,
};
static const memory_warning_callback_t ON_RECOVERY[] = {
    on_recovery_0, on_recovery_1, on_recovery_2, on_recovery_3, on_recovery_4,
    on_recovery_5, on_recovery_6, on_recovery_7, on_recovery_8,
};
_Static_assert(sizeof(ON_WARNING) / sizeof(ON_WARNING[0]) == RECORDERS, "one recorder more than callbacks");
_Static_assert(sizeof(ON_RECOVERY) / sizeof(ON_RECOVERY[0]) == RECORDERS, "one recorder more than callbacks");

static esp_err_t register_recorder(unsigned n)
{
    esp_err_t err = memory_manager_register_warning_callback(ON_WARNING[n]);
    if (err != ESP_OK) {
        return err;
    }
    err = memory_manager_register_recovery_callback(ON_RECOVERY[n]);
    if (err != ESP_OK) {
        memory_manager_unregister_warning_callback(ON_WARNING[n]);
    }
    return err;
}

static void forget_callbacks(void)
{
    while (s_registered > 0) {
        s_registered--;
        memory_manager_unregister_warning_callback(ON_WARNING[s_registered]);
        memory_manager_unregister_recovery_callback(ON_RECOVERY[s_registered]);
    }
    s_first_logs = false;
    portENTER_CRITICAL(&s_lock);
    s_call_count = 0;
    portEXIT_CRITICAL(&s_lock);
}

static esp_err_t mem_callbacks(const console_request_t *request, console_reply_t *reply)
{
    if (console_arg(request, "reset") != NULL) {
        forget_callbacks();
    }
    if (console_arg(request, "log") != NULL) {
        s_first_logs = true;
    }
    uint32_t add = console_arg_u32(request, "add", 0);
    for (uint32_t i = 0; i < add; i++) {
        esp_err_t err = s_registered < RECORDERS ? register_recorder(s_registered) : ESP_ERR_NO_MEM;
        if (err != ESP_OK) {
            return console_fail(reply, err, "%u callbacks are registered, %u more were to be", s_registered,
                                (unsigned)(add - i));
        }
        s_registered++;
    }
    portENTER_CRITICAL(&s_lock);
    uint32_t count = s_call_count;
    portEXIT_CRITICAL(&s_lock);
    console_u32(reply, "registered", s_registered);
    console_u32(reply, "count", count);
    console_array_begin(reply, "calls");
    for (uint32_t i = 0; i < count && i < CALLS_MAX; i++) {
        const call_t *call = &s_calls[i];
        telemetry_record_t *record = console_room(reply, 170);
        telemetry_object_begin(record, NULL);
        telemetry_u32(record, "callback", call->callback);
        telemetry_str(record, "kind", call->recovery ? "recovered" : "warning");
        telemetry_str(record, "type", memory_warning_name(call->warning.type));
        telemetry_u32(record, "value", call->warning.current_value);
        telemetry_u32(record, "threshold", call->warning.threshold_value);
        telemetry_u32(record, "timestamp_ms", call->warning.timestamp_ms);
        telemetry_object_end(record);
    }
    console_container_end(reply);
    return ESP_OK;
}

/* Edge cases */

#define NO_SUCH_BLOCK (1024 * 1024) /* more than the chip has internal memory */

static esp_err_t get_stats(void)
{
    memory_stats_t stats;
    return memory_manager_get_stats(&stats);
}

static esp_err_t get_monitoring(void)
{
    memory_monitoring_t monitoring;
    return memory_manager_get_monitoring(&monitoring);
}

static esp_err_t start_monitoring(void)
{
    return memory_manager_start_monitoring(15000);
}

static esp_err_t log_stats(void)
{
    return memory_manager_log_stats("Edge Case");
}

static esp_err_t get_thresholds(void)
{
    memory_thresholds_t thresholds;
    return memory_manager_get_thresholds(&thresholds);
}

static esp_err_t set_thresholds(void)
{
    return memory_manager_set_thresholds(NULL);
}

static esp_err_t register_warning_callback(void)
{
    return memory_manager_register_warning_callback(on_warning_0);
}

static esp_err_t register_recovery_callback(void)
{
    return memory_manager_register_recovery_callback(on_recovery_0);
}

static esp_err_t get_events(void)
{
    memory_event_t event;
    size_t count;
    return memory_manager_get_events(0, &event, 1, &count);
}

static esp_err_t get_history(void)
{
    static memory_snapshot_t s_snapshot;
    size_t count;
    return memory_manager_get_history(&s_snapshot, 1, &count);
}

static esp_err_t get_baseline(void)
{
    memory_baseline_t baseline;
    return memory_manager_get_baseline(NULL, &baseline);
}

static esp_err_t set_baseline(void)
{
    return memory_manager_set_baseline(NULL);
}

static esp_err_t get_self(void)
{
    memory_self_t self;
    return memory_manager_get_self(&self);
}

typedef esp_err_t (*use_thresholds_t)(const memory_thresholds_t *thresholds);

/* Nonsense of every kind, for init and for set_thresholds alike. */
#define NONSENSE_CASES(X)                                                    \
    X(internal_critical_above_warning, internal_ram_critical, 50 * 1024 + 1) \
    X(dma_critical_above_warning, dma_capable_critical, 35 * 1024 + 1)       \
    X(psram_critical_above_warning, psram_critical, 500 * 1024 + 1)          \
    X(fragmentation_critical_below_warning, fragmentation_critical, 29)      \
    X(percent_over_100, fragmentation_critical, 101)

#define NONSENSE(name, field, nonsense)                               \
    static esp_err_t with_##name(use_thresholds_t use)                \
    {                                                                 \
        memory_thresholds_t thresholds = MEMORY_THRESHOLDS_DEFAULT(); \
        thresholds.field = (nonsense);                                \
        return use(&thresholds);                                      \
    }                                                                 \
    static esp_err_t init_##name(void)                                \
    {                                                                 \
        return with_##name(memory_manager_init);                      \
    }                                                                 \
    static esp_err_t thresholds_##name(void)                          \
    {                                                                 \
        return with_##name(memory_manager_set_thresholds);            \
    }
NONSENSE_CASES(NONSENSE)

static esp_err_t init_again(void)
{
    return memory_manager_init(NULL);
}

static esp_err_t get_stats_null(void)
{
    return memory_manager_get_stats(NULL);
}

static esp_err_t get_thresholds_null(void)
{
    return memory_manager_get_thresholds(NULL);
}

static esp_err_t get_monitoring_null(void)
{
    return memory_manager_get_monitoring(NULL);
}

static esp_err_t get_baseline_null(void)
{
    return memory_manager_get_baseline(NULL, NULL);
}

static esp_err_t get_self_null(void)
{
    return memory_manager_get_self(NULL);
}

static esp_err_t get_history_null(void)
{
    size_t count;
    return memory_manager_get_history(NULL, 1, &count);
}

static esp_err_t get_events_null(void)
{
    size_t count;
    return memory_manager_get_events(0, NULL, 1, &count);
}

static esp_err_t place_null(void)
{
    memory_placement_t placement;
    return memory_manager_place(1, NULL, 1, &placement);
}

static esp_err_t log_stats_null(void)
{
    return memory_manager_log_stats(NULL);
}

static esp_err_t callback_null(void)
{
    return memory_manager_register_warning_callback(NULL);
}

static esp_err_t recovery_callback_null(void)
{
    return memory_manager_register_recovery_callback(NULL);
}

static esp_err_t unregister_unknown(void)
{
    return memory_manager_unregister_warning_callback(ON_WARNING[RECORDERS - 1]);
}

/** Fills the list behind what mem.callbacks registered; what the one too many is told; and empties it again.
 */
static esp_err_t fill(const memory_warning_callback_t *callbacks, esp_err_t (*add)(memory_warning_callback_t),
                      esp_err_t (*take)(memory_warning_callback_t))
{
    unsigned end = s_registered;
    esp_err_t err = ESP_OK;
    while (end < RECORDERS && err == ESP_OK) {
        err = add(callbacks[end]);
        end += err == ESP_OK;
    }
    while (end > s_registered) {
        take(callbacks[--end]);
    }
    return err;
}

static esp_err_t callbacks_full(void)
{
    return fill(ON_WARNING, memory_manager_register_warning_callback,
                memory_manager_unregister_warning_callback);
}

static esp_err_t recovery_callbacks_full(void)
{
    return fill(ON_RECOVERY, memory_manager_register_recovery_callback,
                memory_manager_unregister_recovery_callback);
}

static esp_err_t start_zero(void)
{
    return memory_manager_start_monitoring(0);
}

static esp_err_t start_below_minimum(void)
{
    return memory_manager_start_monitoring(CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS - 1);
}

/** The failed-allocation hook must do without locks, memory and output: here it has none of them. */
static esp_err_t fail_in_critical_section(void)
{
    static portMUX_TYPE s_critical = portMUX_INITIALIZER_UNLOCKED;
    portENTER_CRITICAL(&s_critical);
    void *block = heap_caps_malloc(NO_SUCH_BLOCK, MALLOC_CAP_DMA);
    portEXIT_CRITICAL(&s_critical);
    heap_caps_free(block);
    return block == NULL ? ESP_ERR_NO_MEM : ESP_OK;
}

typedef struct {
    const char *name;
    esp_err_t (*run)(void);
} api_case_t;

#define CASE(name)  \
    {               \
#name, name \
    }
#define INIT_CASE(name, field, nonsense) {"init_" #name, init_##name},
#define THRESHOLDS_CASE(name, field, nonsense) {"thresholds_" #name, thresholds_##name},

/* Run once, by hil_console_before_init(); mem.api case=before_init.<name> tells what came of it. */
static const api_case_t BEFORE_INIT[] = {CASE(get_stats),
                                         CASE(start_monitoring),
                                         {"stop_monitoring", memory_manager_stop_monitoring},
                                         CASE(get_monitoring),
                                         CASE(log_stats),
                                         CASE(get_thresholds),
                                         CASE(set_thresholds),
                                         CASE(register_warning_callback),
                                         CASE(register_recovery_callback),
                                         {"check_thresholds", memory_manager_check_thresholds},
                                         CASE(get_events),
                                         CASE(get_history),
                                         CASE(get_baseline),
                                         CASE(set_baseline),
                                         {"optimize", memory_manager_optimize},
                                         CASE(get_self),
                                         NONSENSE_CASES(INIT_CASE)};

#define BEFORE_INIT_COUNT (sizeof(BEFORE_INIT) / sizeof(BEFORE_INIT[0]))

static const api_case_t CASES[] = {
    CASE(init_again),
    CASE(get_stats_null),
    CASE(get_thresholds_null),
    CASE(get_monitoring_null),
    CASE(get_baseline_null),
    CASE(get_self_null),
    CASE(get_history_null),
    CASE(get_events_null),
    CASE(place_null),
    CASE(log_stats_null),
    CASE(callback_null),
    CASE(recovery_callback_null),
    CASE(callbacks_full),
    CASE(recovery_callbacks_full),
    CASE(unregister_unknown),
    CASE(start_zero),
    CASE(start_below_minimum),
    CASE(fail_in_critical_section),
    {"thresholds_critical_above_warning", thresholds_internal_critical_above_warning},
    NONSENSE_CASES(THRESHOLDS_CASE)};

#define CASE_COUNT (sizeof(CASES) / sizeof(CASES[0]))

static const char BEFORE_INIT_PREFIX[] = "before_init.";
static esp_err_t s_before_init[BEFORE_INIT_COUNT];
static bool s_before_init_ran;

void hil_console_before_init(void)
{
    for (size_t i = 0; i < BEFORE_INIT_COUNT; i++) {
        s_before_init[i] = BEFORE_INIT[i].run();
    }
    s_before_init_ran = true;
}

static void list_cases(console_reply_t *reply)
{
    console_array_begin(reply, "cases");
    for (size_t i = 0; i < BEFORE_INIT_COUNT + CASE_COUNT; i++) {
        bool before = i < BEFORE_INIT_COUNT;
        char name[64];
        snprintf(name, sizeof(name), "%s%s", before ? BEFORE_INIT_PREFIX : "",
                 before ? BEFORE_INIT[i].name : CASES[i - BEFORE_INIT_COUNT].name);
        telemetry_str(console_room(reply, sizeof(name) + 4), NULL, name);
    }
    console_container_end(reply);
}

static bool run_case(const char *name, esp_err_t *err)
{
    size_t prefix = sizeof(BEFORE_INIT_PREFIX) - 1;
    if (strncmp(name, BEFORE_INIT_PREFIX, prefix) == 0) {
        for (size_t i = 0; s_before_init_ran && i < BEFORE_INIT_COUNT; i++) {
            if (strcmp(BEFORE_INIT[i].name, name + prefix) == 0) {
                *err = s_before_init[i];
                return true;
            }
        }
        return false;
    }
    for (size_t i = 0; i < CASE_COUNT; i++) {
        if (strcmp(CASES[i].name, name) == 0) {
            *err = CASES[i].run();
            return true;
        }
    }
    return false;
}

static esp_err_t mem_api(const console_request_t *request, console_reply_t *reply)
{
    const char *name = console_arg(request, "case");
    if (name == NULL) {
        list_cases(reply);
        return ESP_OK;
    }
    esp_err_t err;
    if (!run_case(name, &err)) {
        return console_bad_argument(reply, "case", name, "unknown; mem.api without it lists them");
    }
    telemetry_str(console_room(reply, 80), "case", name);
    telemetry_str(console_room(reply, 80), "err", esp_err_to_name(err));
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.api", "[case=TEXT]", mem_api, "run an edge case of the memory manager's API (none: list them)"},
    {"mem.callbacks", "[add=N] [reset=1] [log=1]", mem_callbacks,
     "register callbacks that note their calls (log: the first also logs and queries); the calls so far"},
};

const console_group_t CMD_API = CONSOLE_GROUP(COMMANDS);
