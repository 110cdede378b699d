/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.api: edge cases of the memory manager's API, run on the board. mem.callbacks: callbacks that record
 * their calls.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array_size.h"
#include "boot_fail.h"
#include "console.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "hil_console.h"
#include "memory_manager.h"
#include "sdkconfig.h"

/* --- Callbacks --- */

#define RECORDERS (MEMORY_CALLBACKS_MAX + 1) /* one more than can be registered */
#define CALLS_MAX 48

typedef struct {
    memory_warning_t warning;
    uint8_t callback;
    bool recovery;
} call_t;

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static call_t s_calls[CALLS_MAX];
static uint32_t s_call_count; /* counts all calls; only the first CALLS_MAX are stored */
static unsigned s_registered;
static volatile bool s_first_logs;

/* Destination of every query. Static because the largest does not fit on the stack of the main task or the
 * monitor. */
static union {
    memory_stats_t stats;
    memory_monitoring_t monitoring;
    memory_thresholds_t thresholds;
    memory_event_t event;
    memory_snapshot_t snapshot;
    memory_baseline_t baseline;
    memory_delta_t delta;
    memory_self_t self;
    memory_placement_t placement;
    memory_optimize_report_t report;
} s_out;
static size_t s_out_count;

/* --- Calls from inside a callback --- */

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
    esp_err_t err = memory_manager_get_thresholds(&s_out.thresholds);
    return err == ESP_OK ? memory_manager_set_thresholds(&s_out.thresholds) : err;
}

static esp_err_t place(void)
{
    static const size_t SIZES[] = {64, 128};
    return memory_manager_place(MALLOC_CAP_DMA, SIZES, ARRAY_SIZE(SIZES), &s_out.placement);
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
    X(get_baseline, memory_manager_get_baseline(NULL, &s_out.baseline))                     \
    X(get_delta, memory_manager_get_delta(NULL, &s_out.delta))                              \
    X(get_events, memory_manager_get_events(0, &s_out.event, 1, &s_out_count))              \
    X(get_history, memory_manager_get_history(&s_out.snapshot, 1, &s_out_count))            \
    X(get_monitoring, memory_manager_get_monitoring(&s_out.monitoring))                     \
    X(get_self, memory_manager_get_self(&s_out.self))                                       \
    X(get_stats, memory_manager_get_stats(&s_out.stats))                                    \
    X(log_stats, memory_manager_log_stats("From Callback"))                                 \
    X(optimize, memory_manager_optimize())                                                  \
    X(panic, panic_now())                                                                   \
    X(place, place())                                                                       \
    X(register, register_and_unregister())                                                  \
    X(set_baseline, memory_manager_set_baseline("inside"))                                  \
    X(set_thresholds, set_same_thresholds())                                                \
    X(start_monitoring, memory_manager_start_monitoring(CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS)) \
    X(stop_monitoring, memory_manager_stop_monitoring())

typedef struct {
    const char *name;
    esp_err_t (*run)(void);
} api_case_t;

#define CALL_FUNCTION(name, call)               \
    static esp_err_t callback_call_##name(void) \
    {                                           \
        return call;                            \
    }
#define CALL_ENTRY(name, call) {#name, callback_call_##name},
CALLBACK_CALLS(CALL_FUNCTION)
static const api_case_t FROM_CALLBACK[] = {CALLBACK_CALLS(CALL_ENTRY)};

static const api_case_t *volatile s_first_calls; /* call that the first callback makes; NULL: none */
static volatile esp_err_t s_called = ESP_ERR_NOT_FINISHED;
static volatile bool s_is_inside; /* prevents recursion: a call that checks thresholds may call back */

static void call_from_inside(bool recovery)
{
    const api_case_t *call = s_first_calls;
    if (s_first_logs) {
        memory_manager_get_stats(&s_out.stats);
        memory_manager_log_stats(recovery ? "Recovery Callback" : "Warning Callback");
    }
    if (call != NULL && !s_is_inside) {
        s_is_inside = true;
        esp_err_t err = call->run();
        s_called = s_called == ESP_ERR_NOT_FINISHED || s_called == ESP_OK ? err : s_called;
        s_is_inside = false;
    }
}

static void note_call(uint8_t callback, bool recovery, const memory_warning_t *warning)
{
    portENTER_CRITICAL(&s_lock);
    if (s_call_count < CALLS_MAX) {
        s_calls[s_call_count] = (call_t){*warning, callback, recovery};
    }
    s_call_count++;
    portEXIT_CRITICAL(&s_lock);
    if (callback == 0) {
        call_from_inside(recovery);
    }
}

/* A callback gets no user argument, so each recorder is a pair of functions. */
#define RECORDER(n)                                              \
    static void on_warning_##n(const memory_warning_t *warning)  \
    {                                                            \
        note_call(n, false, warning);                            \
    }                                                            \
    static void on_recovery_##n(const memory_warning_t *warning) \
    {                                                            \
        note_call(n, true, warning);                             \
    }

#define EACH_RECORDER(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#define ON_WARNING_ENTRY(n) on_warning_##n,
#define ON_RECOVERY_ENTRY(n) on_recovery_##n,
EACH_RECORDER(RECORDER)

static const memory_warning_callback_t ON_WARNING[] = {EACH_RECORDER(ON_WARNING_ENTRY)};
static const memory_warning_callback_t ON_RECOVERY[] = {EACH_RECORDER(ON_RECOVERY_ENTRY)};
_Static_assert(ARRAY_SIZE(ON_WARNING) == RECORDERS, "one recorder more than callbacks");

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

static void forget_newest(uint32_t count)
{
    while (count-- > 0) {
        s_registered--;
        memory_manager_unregister_warning_callback(ON_WARNING[s_registered]);
        memory_manager_unregister_recovery_callback(ON_RECOVERY[s_registered]);
    }
}

static void forget_callbacks(void)
{
    forget_newest(s_registered);
    s_first_logs = false;
    s_first_calls = NULL;
    portENTER_CRITICAL(&s_lock);
    s_call_count = 0;
    portEXIT_CRITICAL(&s_lock);
}

static const api_case_t *find_call(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(FROM_CALLBACK); i++) {
        if (strcmp(FROM_CALLBACK[i].name, name) == 0) {
            return &FROM_CALLBACK[i];
        }
    }
    return NULL;
}

static void add_called(console_reply_t *reply)
{
    console_array_begin(reply, "can_call");
    for (size_t i = 0; i < ARRAY_SIZE(FROM_CALLBACK); i++) {
        telemetry_str(console_room(reply, 40), NULL, FROM_CALLBACK[i].name);
    }
    console_container_end(reply);
    telemetry_str(console_room(reply, 48), "called", esp_err_to_name(s_called));
    telemetry_bool(console_room(reply, 24), "blocked", s_is_blocked);
}

static esp_err_t mem_callbacks(const console_request_t *request, console_reply_t *reply)
{
    const char *name = console_arg(request, "call");
    const api_case_t *call = name != NULL ? find_call(name) : NULL;
    if (name != NULL && call == NULL) {
        return console_bad_argument(reply, "call", name,
                                    "unknown; mem.callbacks without arguments lists the calls");
    }
    uint32_t add = console_arg_u32(request, "add", 0);
    if (add > MEMORY_CALLBACKS_MAX) {
        return console_bad_argument(reply, "add", console_arg(request, "add"), "must be at most 8");
    }
    if (console_arg(request, "go") != NULL) {
        s_go = true;
    }
    if (console_arg(request, "reset") != NULL) {
        forget_callbacks();
    }
    for (uint32_t added = 0; added < add; added++) {
        esp_err_t err = s_registered < RECORDERS ? register_recorder(s_registered) : ESP_ERR_NO_MEM;
        if (err != ESP_OK) {
            forget_newest(added);
            return console_fail(reply, err,
                                "no room for all: %u callbacks are registered, %u more were requested",
                                s_registered, (unsigned)add);
        }
        s_registered++;
    }
    if (console_arg(request, "log") != NULL) {
        s_first_logs = true;
    }
    if (call != NULL) {
        s_go = false;
        s_called = ESP_ERR_NOT_FINISHED;
        s_first_calls = call;
    }
    portENTER_CRITICAL(&s_lock);
    uint32_t count = s_call_count;
    portEXIT_CRITICAL(&s_lock);
    console_u32(reply, "registered", s_registered);
    console_u32(reply, "count", count);
    add_called(reply);
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

/* --- Edge cases --- */

#define NO_SUCH_BLOCK (1024 * 1024) /* more than the chip's internal memory */

/** Registers callbacks until the list is full, then removes them again. Callbacks of mem.callbacks stay
 * registered. @return the last error */
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
#define BEFORE_INIT_CASES(X)                                                                \
    X(get_stats, memory_manager_get_stats(&s_out.stats))                                    \
    X(start_monitoring, memory_manager_start_monitoring(15000))                             \
    X(stop_monitoring, memory_manager_stop_monitoring())                                    \
    X(get_monitoring, memory_manager_get_monitoring(&s_out.monitoring))                     \
    X(log_stats, memory_manager_log_stats("Edge Case"))                                     \
    X(get_thresholds, memory_manager_get_thresholds(&s_out.thresholds))                     \
    X(set_thresholds, memory_manager_set_thresholds(NULL))                                  \
    X(register_warning_callback, memory_manager_register_warning_callback(on_warning_0))    \
    X(register_recovery_callback, memory_manager_register_recovery_callback(on_recovery_0)) \
    X(check_thresholds, memory_manager_check_thresholds())                                  \
    X(get_events, memory_manager_get_events(0, &s_out.event, 1, &s_out_count))              \
    X(get_history, memory_manager_get_history(&s_out.snapshot, 1, &s_out_count))            \
    X(get_baseline, memory_manager_get_baseline(NULL, &s_out.baseline))                     \
    X(set_baseline, memory_manager_set_baseline(NULL))                                      \
    X(optimize, memory_manager_optimize())                                                  \
    X(get_self, memory_manager_get_self(&s_out.self))                                       \
    THRESHOLD_CASES(X, init_, memory_manager_init)

#define CASES(X)                                                                                   \
    X(init_again, memory_manager_init(NULL))                                                       \
    X(get_stats_null, memory_manager_get_stats(NULL))                                              \
    X(get_thresholds_null, memory_manager_get_thresholds(NULL))                                    \
    X(get_monitoring_null, memory_manager_get_monitoring(NULL))                                    \
    X(get_baseline_null, memory_manager_get_baseline(NULL, NULL))                                  \
    X(get_self_null, memory_manager_get_self(NULL))                                                \
    X(get_history_null, memory_manager_get_history(NULL, 1, &s_out_count))                         \
    X(get_events_null, memory_manager_get_events(0, NULL, 1, &s_out_count))                        \
    X(place_null, memory_manager_place(1, NULL, 1, &s_out.placement))                              \
    X(log_stats_null, memory_manager_log_stats(NULL))                                              \
    X(callback_null, memory_manager_register_warning_callback(NULL))                               \
    X(recovery_callback_null, memory_manager_register_recovery_callback(NULL))                     \
    X(callbacks_full, fill(ON_WARNING, memory_manager_register_warning_callback,                   \
                           memory_manager_unregister_warning_callback))                            \
    X(recovery_callbacks_full, fill(ON_RECOVERY, memory_manager_register_recovery_callback,        \
                                    memory_manager_unregister_recovery_callback))                  \
    X(unregister_unknown, memory_manager_unregister_warning_callback(ON_WARNING[RECORDERS - 1]))   \
    X(start_zero, memory_manager_start_monitoring(0))                                              \
    X(start_below_minimum, memory_manager_start_monitoring(CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS - 1)) \
    X(fail_in_critical_section, fail_in_critical_section())                                        \
    X(thresholds_critical_above_warning,                                                           \
      WITH(memory_manager_set_thresholds, internal_ram_critical, 50 * 1024 + 1))                   \
    THRESHOLD_CASES(X, thresholds_, memory_manager_set_thresholds)

#define CASE_FUNCTION(name, call)      \
    static esp_err_t case_##name(void) \
    {                                  \
        return call;                   \
    }
#define CASE_ENTRY(name, call) {#name, case_##name},

BEFORE_INIT_CASES(CASE_FUNCTION)
CASES(CASE_FUNCTION)

static const api_case_t BEFORE_INIT[] = {BEFORE_INIT_CASES(CASE_ENTRY)};
static const api_case_t AFTER_INIT[] = {CASES(CASE_ENTRY)};

static const char BEFORE_INIT_PREFIX[] = "before_init.";
static esp_err_t s_before_init[ARRAY_SIZE(BEFORE_INIT)];
static bool s_before_init_ran;

void hil_console_before_init(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(BEFORE_INIT); i++) {
        s_before_init[i] = BEFORE_INIT[i].run();
    }
    s_before_init_ran = true;
    boot_fail_begin_allocations();
}

static void list_cases(console_reply_t *reply)
{
    console_array_begin(reply, "cases");
    for (size_t i = 0; i < ARRAY_SIZE(BEFORE_INIT) + ARRAY_SIZE(AFTER_INIT); i++) {
        bool before = i < ARRAY_SIZE(BEFORE_INIT);
        char name[64];
        snprintf(name, sizeof(name), "%s%s", before ? BEFORE_INIT_PREFIX : "",
                 before ? BEFORE_INIT[i].name : AFTER_INIT[i - ARRAY_SIZE(BEFORE_INIT)].name);
        telemetry_str(console_room(reply, sizeof(name) + 4), NULL, name);
    }
    console_container_end(reply);
}

static bool run_case(const char *name, esp_err_t *err)
{
    size_t prefix = sizeof(BEFORE_INIT_PREFIX) - 1;
    if (strncmp(name, BEFORE_INIT_PREFIX, prefix) == 0) {
        for (size_t i = 0; s_before_init_ran && i < ARRAY_SIZE(BEFORE_INIT); i++) {
            if (strcmp(BEFORE_INIT[i].name, name + prefix) == 0) {
                *err = s_before_init[i];
                return true;
            }
        }
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(AFTER_INIT); i++) {
        if (strcmp(AFTER_INIT[i].name, name) == 0) {
            *err = AFTER_INIT[i].run();
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
        return console_bad_argument(reply, "case", name,
                                    "unknown; mem.api without arguments lists the cases");
    }
    telemetry_str(console_room(reply, 80), "case", name);
    telemetry_str(console_room(reply, 80), "err", esp_err_to_name(err));
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.api", "[case=TEXT]", mem_api, "run an edge case of the memory manager's API (none: list them)"},
    {"mem.callbacks", "[add=N] [reset=1] [log=1] [call=TEXT] [go=1]", mem_callbacks,
     "list recorded callback calls; register callbacks that record them (log=1: the first also logs and "
     "queries; call=: it makes this call; go=1: unblock it)"},
};

const console_group_t CMD_API = CONSOLE_GROUP(COMMANDS);
