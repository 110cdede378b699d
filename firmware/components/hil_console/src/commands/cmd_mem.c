/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.*: the memory manager's API.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "console_snapshots.h"
#include "esp_timer.h"
#include "memory_manager.h"
#include "memory_optimize.h"
#include "sdkconfig.h"

#define FIELD_SIZE 48 /* bytes of one member: quotes, name, colon, number, comma */

/* Arguments of the X-macro lists. The first two call console_u32() for each field, with its name as the
 * key. */
#define ADD_STATS_FIELD(field, section, row) console_u32(reply, #field, stats->field);
#define ADD_BASELINE_FIELD(field, label, stats_field) console_u32(reply, #field, baseline.field);
#define NAME_FIELD(field, section, row) telemetry_str(console_room(reply, FIELD_SIZE), NULL, #field);
#define VALUE_FIELD(field, section, row) \
    telemetry_u32(record, NULL, g_console_table.snapshots[i].stats.field);
#define COUNT_FIELD(field, section, row) +1

#define STATS_FIELD_COUNT (0 MEMORY_STATS_FIELDS(COUNT_FIELD))
/* Bytes of one row: the statistics, then brackets, sequence and a context whose characters may all be
 * escaped */
#define SNAPSHOT_ROW_SIZE (STATS_FIELD_COUNT * sizeof("4294967295,") + 2 * MEMORY_CONTEXT_SIZE + 20)

#define THRESHOLD_FIELDS(X)  \
    X(internal_ram_warning)  \
    X(internal_ram_critical) \
    X(dma_capable_warning)   \
    X(dma_capable_critical)  \
    X(psram_warning)         \
    X(psram_critical)        \
    X(fragmentation_warning) \
    X(fragmentation_critical)

static esp_err_t fail_with(console_reply_t *reply, esp_err_t err)
{
    return err == ESP_ERR_INVALID_STATE ? console_fail(reply, err, "the memory manager is not initialised")
                                        : err;
}

static void add_stats(console_reply_t *reply,
                      const memory_stats_t *stats){MEMORY_STATS_FIELDS(ADD_STATS_FIELD)}

console_table_t g_console_table;

void console_add_snapshots(console_reply_t *reply, size_t count)
{
    if (count > 0) {
        console_array_begin(reply, "fields");
        telemetry_str(console_room(reply, FIELD_SIZE), NULL, "sequence");
        telemetry_str(console_room(reply, FIELD_SIZE), NULL, "context");
        MEMORY_STATS_FIELDS(NAME_FIELD)
        console_container_end(reply);
    }
    console_array_begin(reply, "snapshots");
    for (size_t i = 0; i < count; i++) {
        telemetry_record_t *record = console_room(reply, SNAPSHOT_ROW_SIZE);
        telemetry_array_begin(record, NULL);
        telemetry_u32(record, NULL, g_console_table.snapshots[i].sequence);
        telemetry_str(record, NULL, g_console_table.snapshots[i].context);
        MEMORY_STATS_FIELDS(VALUE_FIELD)
        telemetry_array_end(record);
    }
    console_container_end(reply);
}

static esp_err_t mem_stats(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    memory_stats_t stats;
    esp_err_t err = memory_manager_get_stats(&stats);
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    add_stats(reply, &stats);
    return ESP_OK;
}

static esp_err_t mem_free(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    console_u32(reply, "internal", memory_manager_get_free_internal());
    console_u32(reply, "dma", memory_manager_get_free_dma());
    console_u32(reply, "psram", memory_manager_get_free_psram());
    return ESP_OK;
}

static esp_err_t mem_log(const console_request_t *request, console_reply_t *reply)
{
    const char *context = console_arg(request, "context");
    uint32_t count = console_arg_u32(request, "count", 0);
    uint32_t number = 0;
    uint32_t longest_us = 0;
    esp_err_t err = ESP_OK;
    do {
        char numbered[MEMORY_CONTEXT_SIZE];
        snprintf(numbered, sizeof(numbered), "%s %" PRIu32, context, ++number);
        int64_t start_us = esp_timer_get_time();
        err = memory_manager_log_stats(count > 0 ? numbered : context);
        uint32_t held_us = (uint32_t)(esp_timer_get_time() - start_us);
        longest_us = held_us > longest_us ? held_us : longest_us;
    } while (number < count && err == ESP_OK);
    console_u32(reply, "held_us", longest_us);
    return err == ESP_OK ? err : fail_with(reply, err);
}

static esp_err_t mem_monitor(const console_request_t *request, console_reply_t *reply)
{
    const char *start = console_arg(request, "start");
    bool stop = console_arg(request, "stop") != NULL;
    if (start != NULL && stop) {
        return console_bad_argument(reply, "stop", "1", "give either start or stop");
    }
    esp_err_t err = ESP_OK;
    if (start != NULL) {
        err = memory_manager_start_monitoring(console_arg_u32(request, "start", 0));
        if (err == ESP_ERR_INVALID_ARG) {
            return console_fail(reply, err, "%s ms is below the minimum interval of %d ms", start,
                                CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS);
        }
        if (err == ESP_ERR_NO_MEM) {
            return console_fail(reply, err, "no memory for the monitor task");
        }
    } else if (stop) {
        err = memory_manager_stop_monitoring();
    }
    memory_monitoring_t monitoring;
    if (err == ESP_OK) {
        err = memory_manager_get_monitoring(&monitoring);
    }
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    console_u32(reply, "interval_ms", monitoring.interval_ms);
    telemetry_bool(console_room(reply, FIELD_SIZE), "running", monitoring.running);
    console_u32(reply, "samples", monitoring.samples);
    return ESP_OK;
}

static esp_err_t mem_thresholds(const console_request_t *request, console_reply_t *reply)
{
    memory_thresholds_t thresholds;
    esp_err_t err = memory_manager_get_thresholds(&thresholds);
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    if (console_arg(request, "default") != NULL) {
        thresholds = (memory_thresholds_t)MEMORY_THRESHOLDS_DEFAULT();
    }
#define READ_FIELD(field) thresholds.field = console_arg_u32(request, #field, thresholds.field);
    THRESHOLD_FIELDS(READ_FIELD)
#undef READ_FIELD
    if (request->arg_count > 0) {
        err = memory_manager_set_thresholds(&thresholds);
        if (err != ESP_OK) {
            return console_fail(reply, err,
                                "a critical level is less severe than its warning level, or above 100 %%");
        }
    }
#define ADD_FIELD(field) console_u32(reply, #field, thresholds.field);
    THRESHOLD_FIELDS(ADD_FIELD)
#undef ADD_FIELD
    return ESP_OK;
}

static esp_err_t mem_check(const console_request_t *request, console_reply_t *reply)
{
    const char *dma = console_arg(request, "dma");
    const char *psram = console_arg(request, "psram");
    if ((dma == NULL) == (psram == NULL)) {
        return console_bad_argument(reply, dma == NULL ? "dma" : "psram", dma == NULL ? "" : psram,
                                    "give either dma or psram");
    }
    bool available = dma != NULL ? memory_manager_check_dma_available(console_arg_u32(request, "dma", 0))
                                 : memory_manager_check_psram_available(console_arg_u32(request, "psram", 0));
    telemetry_bool(console_room(reply, FIELD_SIZE), "available", available);
    return ESP_OK;
}

static esp_err_t mem_place(const console_request_t *request, console_reply_t *reply)
{
    uint32_t given[CONSOLE_SIZES_MAX];
    size_t sizes[CONSOLE_SIZES_MAX];
    _Static_assert(CONSOLE_SIZES_MAX <= MEMORY_PLACE_MAX, "every list that can be parsed can be placed");
    size_t count = console_parse_sizes(console_arg(request, "sizes"), given, CONSOLE_SIZES_MAX);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = given[i];
    }
    memory_placement_t placement;
    esp_err_t err = memory_manager_place(console_caps(request), sizes, count, &placement);
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    telemetry_bool(console_room(reply, FIELD_SIZE), "placeable", placement.placeable);
    console_u32(reply, "placed", (uint32_t)placement.placed);
    console_u32(reply, "missing", placement.missing);
    console_u32(reply, "largest", placement.largest);
    return ESP_OK;
}

static esp_err_t mem_baseline(const console_request_t *request, console_reply_t *reply)
{
    const char *state = console_arg(request, "state");
    esp_err_t err = ESP_OK;
    if (console_arg(request, "set") != NULL) {
        err = memory_manager_set_baseline(state);
    }
    memory_baseline_t baseline;
    if (err == ESP_OK) {
        err = memory_manager_get_baseline(state, &baseline);
    }
    if (err == ESP_ERR_NOT_FOUND) {
        return console_fail(reply, err, "no baseline for state %s", state != NULL ? state : "");
    }
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    console_u32(reply, "timestamp_ms", baseline.timestamp_ms);
    MEMORY_BASELINE_FIELDS(ADD_BASELINE_FIELD)
    return ESP_OK;
}

#if CONFIG_HOTPIN_MEM_OPTIMIZE
#define AUTO_ARGUMENT "[auto=on|off]"

static esp_err_t set_auto_optimize(const char *automatic, console_reply_t *reply)
{
    memory_optimize_state_t state;
    memory_manager_set_auto_optimize(strcmp(automatic, "on") == 0);
    memory_optimize_get(&state);
    telemetry_bool(console_room(reply, FIELD_SIZE), "auto", state.enabled);
    telemetry_bool(console_room(reply, FIELD_SIZE), "gave_up", state.gave_up);
    console_u32(reply, "attempts", state.attempts);
    console_u32(reply, "helped", state.helped);
    console_u32(reply, "check_us", state.check_us);
    console_u32(reply, "bytes_static", (uint32_t)memory_optimize_static_size());
    return ESP_OK;
}
#else
#define AUTO_ARGUMENT ""
#endif

static esp_err_t mem_optimize(const console_request_t *request, console_reply_t *reply)
{
#if CONFIG_HOTPIN_MEM_OPTIMIZE
    const char *automatic = console_arg(request, "auto");
    if (automatic != NULL) {
        return set_auto_optimize(automatic, reply);
    }
#else
    (void)request;
#endif
    memory_optimize_report_t report;
    esp_err_t err = memory_manager_optimize_report(&report);
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    telemetry_i32(console_room(reply, FIELD_SIZE), "reclaimed", report.reclaimed);
    console_array_begin(reply, "advice");
    for (unsigned kind = 0; kind < MEMORY_ADVICE_KINDS_; kind++) {
        if ((report.advice & 1u << kind) != 0) {
            const char *text = memory_advice_text((memory_advice_t)kind);
            telemetry_str(console_room(reply, 2 * strlen(text) + 8), NULL, text);
        }
    }
    console_container_end(reply);
    return ESP_OK;
}

static void add_event(console_reply_t *reply, const memory_event_t *event)
{
    static const char *const KINDS[] = {
        [MEMORY_EVENT_WARNING] = "warning",
        [MEMORY_EVENT_RECOVERED] = "recovered",
        [MEMORY_EVENT_ALLOC_FAILED] = "alloc_failed",
    };
    telemetry_record_t *record = console_room(reply, 180);
    telemetry_object_begin(record, NULL);
    telemetry_u32(record, "sequence", event->sequence);
    telemetry_u32(record, "timestamp_ms", event->timestamp_ms);
    telemetry_str(record, "kind", KINDS[event->kind]);
    if (event->kind == MEMORY_EVENT_ALLOC_FAILED) {
        telemetry_u32(record, "size", event->size);
        telemetry_u32(record, "caps", event->caps);
        telemetry_str(record, "function", event->function);
    } else {
        telemetry_str(record, "type", memory_warning_name(event->type));
        telemetry_u32(record, "value", event->value);
        telemetry_u32(record, "threshold", event->threshold);
    }
    telemetry_object_end(record);
}

static esp_err_t mem_events(const console_request_t *request, console_reply_t *reply)
{
    memory_event_t events[MEMORY_EVENTS_SIZE];
    size_t count = 0;
    esp_err_t err =
        memory_manager_get_events(console_arg_u32(request, "since", 0), events, MEMORY_EVENTS_SIZE, &count);
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    console_array_begin(reply, "events");
    for (size_t i = 0; i < count; i++) {
        add_event(reply, &events[i]);
    }
    console_container_end(reply);
    return ESP_OK;
}

static esp_err_t mem_self(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    memory_self_t self;
    esp_err_t err = memory_manager_get_self(&self);
    if (err != ESP_OK) {
        return fail_with(reply, err);
    }
    console_u32(reply, "bytes_internal", self.bytes_internal);
    console_u32(reply, "bytes_static", self.bytes_static);
    console_u32(reply, "bytes_task", self.bytes_task);
    console_u32(reply, "bytes_rtc", self.bytes_rtc);
    console_u32(reply, "stack_size", self.stack_size);
    console_u32(reply, "stack_unused", self.stack_unused);
    console_u32(reply, "cpu_us_per_sample", self.cpu_us_per_sample);
    console_u32(reply, "samples", self.samples);
    return ESP_OK;
}

#define THRESHOLD_USAGE(field) "[" #field "=N] "

static const console_command_t COMMANDS[] = {
    {"mem.stats", "", mem_stats, "memory now"},
    {"mem.free", "", mem_free,
     "free internal, DMA and PSRAM memory, as the three memory_manager_get_free_*() return it"},
    {"mem.log", "context=TEXT [count=N]", mem_log,
     "log the statistics, or N times as 'TEXT 1' to 'TEXT N'; reports the longest time that a call blocked "
     "its caller"},
    {"mem.monitor", "[start=N] [stop=1]", mem_monitor,
     "start (interval in ms) or stop monitoring; reports the state"},
    {"mem.thresholds", THRESHOLD_FIELDS(THRESHOLD_USAGE) "[default=1]", mem_thresholds,
     "get or set the eight thresholds"},
    {"mem.check", "[dma=N] [psram=N]", mem_check, "check whether one block of this size can be allocated"},
    {"mem.place", "caps=CAPS sizes=SIZES", mem_place,
     "check whether all these blocks can be allocated together"},
    {"mem.baseline", "[set=1] [state=TEXT]", mem_baseline, "get the baseline (of a state), or set it"},
    {"mem.optimize", AUTO_ARGUMENT, mem_optimize,
     "advice on pressure and fragmentation; runs the reclaimers; auto= only switches automatic optimisation"},
    {"mem.events", "[since=N]", mem_events,
     "warnings, recoveries and failed allocations after sequence number since="},
    {"mem.self", "", mem_self, "memory used by the memory manager itself"},
};

const console_group_t CMD_MEM = CONSOLE_GROUP(COMMANDS);
