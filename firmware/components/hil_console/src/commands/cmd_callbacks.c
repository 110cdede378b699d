/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.callbacks: callbacks that record their calls.
 */
#include "callback_calls.h"
#include "console.h"
#include "memory_manager.h"
#include "recorders.h"

static void add_called(console_reply_t *reply)
{
    const api_case_t *call;
    console_array_begin(reply, "can_call");
    for (size_t i = 0; (call = callback_calls_at(i)) != NULL; i++) {
        telemetry_str(console_room(reply, 40), NULL, call->name);
    }
    console_container_end(reply);
    telemetry_str(console_room(reply, 48), "called", esp_err_to_name(callback_calls_error()));
    telemetry_bool(console_room(reply, 24), "blocked", callback_calls_is_blocked());
}

static void add_calls(console_reply_t *reply, uint32_t count)
{
    console_array_begin(reply, "calls");
    for (uint32_t i = 0; i < count && i < RECORDED_MAX; i++) {
        const recorded_call_t *call = recorders_call(i);
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
}

static esp_err_t mem_callbacks(const console_request_t *request, console_reply_t *reply)
{
    const char *name = console_arg(request, "call");
    const api_case_t *call = name != NULL ? callback_calls_find(name) : NULL;
    if (name != NULL && call == NULL) {
        return console_bad_argument(reply, "call", name,
                                    "unknown; mem.callbacks without arguments lists the calls");
    }
    uint32_t add = console_arg_u32(request, "add", 0);
    if (add > MEMORY_CALLBACKS_MAX) {
        return console_bad_argument(reply, "add", console_arg(request, "add"), "must be at most 8");
    }
    if (console_arg(request, "go") != NULL) {
        callback_calls_unblock();
    }
    if (console_arg(request, "reset") != NULL) {
        recorders_clear();
        callback_calls_reset();
    }
    for (uint32_t added = 0; added < add; added++) {
        esp_err_t err = recorders_add();
        if (err != ESP_OK) {
            recorders_remove_newest(added);
            return console_fail(reply, err,
                                "no room for all: %u callbacks are registered, %u more were requested",
                                recorders_registered(), (unsigned)add);
        }
    }
    if (console_arg(request, "remove") != NULL) {
        esp_err_t err = recorders_leave_out(console_arg_u32(request, "remove", 0));
        if (err != ESP_OK) {
            return console_fail(reply, err, "callback %s is not registered", console_arg(request, "remove"));
        }
    }
    if (console_arg(request, "log") != NULL) {
        callback_calls_log();
    }
    if (call != NULL) {
        callback_calls_set(call);
    }
    uint32_t count = recorders_call_count();
    console_u32(reply, "registered", recorders_registered());
    console_u32(reply, "count", count);
    add_called(reply);
    add_calls(reply, count);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.callbacks", "[add=N] [remove=N] [reset=1] [log=1] [call=TEXT] [go=1]", mem_callbacks,
     "list recorded callback calls; register callbacks that record them (remove=: unregister one of them; "
     "log=1: the first also logs and queries; call=: it makes this call; go=1: unblock it)"},
};

const console_group_t CMD_CALLBACKS = CONSOLE_GROUP(COMMANDS);
