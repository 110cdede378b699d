/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.adapt: the thresholds that memory_adapt has learned.
 */
#include "console.h"
#include "memory_adapt.h"

#define STATE_SIZE 160

static void add_state(console_reply_t *reply, const memory_adapted_t *adapted)
{
    telemetry_record_t *record = console_room(reply, STATE_SIZE);
    telemetry_object_begin(record, NULL);
    telemetry_str(record, "state", adapted->state);
    telemetry_u32(record, "windows", adapted->windows);
    telemetry_bool(record, "learned", adapted->learned);
    telemetry_u32(record, "internal", adapted->internal);
    telemetry_u32(record, "dma", adapted->dma);
    telemetry_u32(record, "psram", adapted->psram);
    telemetry_object_end(record);
}

static esp_err_t mem_adapt(const console_request_t *request, console_reply_t *reply)
{
    bool on = console_arg(request, "on") != NULL;
    bool off = console_arg(request, "off") != NULL;
    if (on && off) {
        return console_bad_argument(reply, "off", "1", "give either on or off");
    }
    if (on || off) {
        memory_adapt_enable(on);
    }
    if (console_arg(request, "forget") != NULL) {
        memory_adapt_reset();
    }
    memory_adapted_t adapted[MEMORY_ADAPT_STATES_MAX];
    size_t count = 0;
    esp_err_t err = memory_adapt_get(adapted, MEMORY_ADAPT_STATES_MAX, &count);
    if (err != ESP_OK) {
        return console_fail(reply, err, "learning has not started");
    }
    telemetry_bool(console_room(reply, STATE_SIZE), "enabled", memory_adapt_is_enabled());
    console_u32(reply, "bytes_static", (uint32_t)memory_adapt_static_size());
    console_u32(reply, "bytes_rtc", (uint32_t)memory_adapt_rtc_size());
    console_array_begin(reply, "states");
    for (size_t i = 0; i < count; i++) {
        add_state(reply, &adapted[i]);
    }
    console_container_end(reply);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.adapt", "[on=1] [off=1] [forget=1]", mem_adapt,
     "warning thresholds learned from each mode; on=1, off=1: start or stop learning and applying them"},
};

const console_group_t CMD_ADAPT = CONSOLE_GROUP(COMMANDS);
