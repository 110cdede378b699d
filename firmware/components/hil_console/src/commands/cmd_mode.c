/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mode.*, camera.*, stt.*: mode changes, camera frames, speech capture.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "camera_controller.h"
#include "console.h"
#include "esp_log.h"
#include "state_manager.h"
#include "stt_pipeline.h"

/* Longest change, including undo and recovery. */
#define MODE_WAIT_MS 30000

/* Longer than a capture takes. If a mode change in progress takes even longer, the command fails. */
#define LOCK_MS 5000

#define TEXT_SIZE 40

static void add_text(console_reply_t *reply, const char *key, const char *value)
{
    telemetry_str(console_room(reply, 2 * TEXT_SIZE), key, value);
}

static void add_mode(console_reply_t *reply, const state_manager_info_t *info)
{
    add_text(reply, "mode", state_manager_name(info->state));
    add_text(reply, "previous", state_manager_name(info->previous));
    console_u32(reply, "transitions", info->transitions);
    console_u32(reply, "duration_ms", info->last.duration_ms);
    console_u32(reply, "cycles", info->cycles);
    console_u32(reply, "failures", info->failures);
    telemetry_bool(console_room(reply, TEXT_SIZE), "busy", info->busy);
}

static esp_err_t mode_get(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    state_manager_info_t info;
    esp_err_t err = state_manager_get(&info);
    if (err != ESP_OK) {
        return console_fail(reply, err, "the state manager has not been started");
    }
    add_mode(reply, &info);
    if (info.failures > 0) {
        console_object_begin(reply, "failed");
        add_text(reply, "from", state_manager_name(info.failed.from));
        add_text(reply, "to", state_manager_name(info.failed.to));
        add_text(reply, "err", esp_err_to_name(info.failed.err));
        add_text(reply, "step", info.failed.step);
        add_text(reply, "block", info.failed.block);
        console_u32(reply, "missing", info.failed.missing);
        console_u32(reply, "largest", info.failed.largest);
        console_container_end(reply);
    }
    return ESP_OK;
}

/** Replies with the error of a request that failed before any step ran. */
static esp_err_t fail_without_step(console_reply_t *reply, esp_err_t err, system_state_t now)
{
    if (err == ESP_ERR_TIMEOUT) {
        return console_fail(reply, err, "the change is still in progress");
    }
    return console_fail(reply, err,
                        now == SYSTEM_STATE_SHUTDOWN ? "the board is shut down"
                                                     : "superseded by a later request");
}

/** Replies with the error, the failed step and, if memory was missing, the block. */
static esp_err_t fail_with_change(console_reply_t *reply, esp_err_t err, const state_change_t *failed)
{
    reply->key = "step";
    reply->key_length = strlen(reply->key);
    reply->value = failed->step;
    if (failed->block != NULL) {
        return console_fail(reply, err,
                            "step %s: %" PRIu32 " bytes are missing for %s, largest free block %" PRIu32,
                            reply->value, failed->missing, failed->block, failed->largest);
    }
    if (failed->missing > 0) {
        return console_fail(reply, err, "step %s: %" PRIu32 " bytes are missing", reply->value,
                            failed->missing);
    }
    return console_fail(reply, err, "step %s failed", reply->value);
}

static system_state_t state_by_name(const char *name)
{
    for (int state = 0; state < SYSTEM_STATES_; state++) {
        if (strcmp(state_manager_name(state), name) == 0) {
            return state;
        }
    }
    return SYSTEM_STATES_;
}

static esp_err_t mode_set(const console_request_t *request, console_reply_t *reply)
{
    /* A typed command waits for the result. A program requests that with wait=1, or reads the mode event. */
    bool wait = reply->id == 0 || console_arg(request, "wait") != NULL;
    system_state_t to = state_by_name(console_arg(request, "to"));
    state_manager_info_t info;
    state_change_t failed;
    esp_err_t err = state_manager_change(to, wait ? MODE_WAIT_MS : 0, &failed);
    if (state_manager_get(&info) != ESP_OK) {
        return console_fail(reply, err, "the state manager has not been started");
    }
    if (err != ESP_OK) {
        return failed.step != NULL ? fail_with_change(reply, err, &failed)
                                   : fail_without_step(reply, err, info.state);
    }
    add_mode(reply, &info);
    return ESP_OK;
}

static esp_err_t mode_steps(const console_request_t *request, console_reply_t *reply)
{
    const char *from_name = console_arg(request, "from");
    system_state_t to = state_by_name(console_arg(request, "to"));
    state_manager_info_t info = {0};
    state_manager_get(&info);
    system_state_t from = from_name != NULL ? state_by_name(from_name) : info.state;
    console_array_begin(reply, "steps");
    const char *step;
    for (size_t i = 0; (step = state_manager_step_name(from, to, i)) != NULL; i++) {
        add_text(reply, NULL, step);
    }
    console_container_end(reply);
    return ESP_OK;
}

static esp_err_t mode_ledger(const console_request_t *request, console_reply_t *reply)
{
    static transition_ledger_t s_ledger;
    (void)request;
    esp_err_t err = state_manager_get_ledger(&s_ledger);
    if (err != ESP_OK) {
        return console_fail(reply, err, "the state manager has not been started");
    }
    console_array_begin(reply, "ledger");
    for (size_t i = 0; i < s_ledger.count; i++) {
        const transition_entry_t *entry = &s_ledger.entries[i];
        telemetry_record_t *record = console_room(reply, 240);
        telemetry_object_begin(record, NULL);
        telemetry_str(record, "step", entry->step);
        telemetry_bool(record, "undo", entry->undo);
        telemetry_str(record, "err", esp_err_to_name(entry->err));
        telemetry_u32(record, "internal_before", entry->before.internal);
        telemetry_u32(record, "internal_after", entry->after.internal);
        telemetry_u32(record, "psram_before", entry->before.psram);
        telemetry_u32(record, "psram_after", entry->after.psram);
        telemetry_object_end(record);
    }
    console_container_end(reply);
    return ESP_OK;
}

static esp_err_t mode_settle(const console_request_t *request, console_reply_t *reply)
{
    state_manager_settle_t settle = STATE_MANAGER_SETTLE_DEFAULT();
    if (console_arg(request, "default") == NULL) {
        state_manager_get_settle(&settle);
    }
    settle.down_ms = console_arg_u32(request, "down", settle.down_ms);
    settle.up_ms = console_arg_u32(request, "up", settle.up_ms);
    esp_err_t err = state_manager_set_settle(&settle);
    if (err != ESP_OK) {
        return console_fail(reply, err, "at most %d ms each", STATE_MANAGER_SETTLE_MAX_MS);
    }
    console_u32(reply, "down_ms", settle.down_ms);
    console_u32(reply, "up_ms", settle.up_ms);
    return ESP_OK;
}

static esp_err_t camera_capture(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    camera_frame_info_t frame;
    esp_err_t err = state_manager_lock(SYSTEM_STATE_CAMERA_STANDBY, LOCK_MS);
    if (err != ESP_OK) {
        return console_fail(reply, err,
                            err == ESP_ERR_TIMEOUT ? "a mode change is in progress" : "not in camera mode");
    }
    err = camera_controller_capture(&frame);
    state_manager_unlock();
    if (err != ESP_OK) {
        return console_fail(reply, err, "no valid frame");
    }
    console_u32(reply, "width", frame.width);
    console_u32(reply, "height", frame.height);
    console_u32(reply, "bytes", frame.bytes);
    telemetry_bool(console_room(reply, TEXT_SIZE), "soi", frame.soi);
    telemetry_bool(console_room(reply, TEXT_SIZE), "eoi", frame.eoi);
    console_u32(reply, "duration_ms", frame.duration_ms);
    return ESP_OK;
}

static esp_err_t stt_get(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    stt_pipeline_stats_t stats;
    stt_pipeline_get_stats(&stats);
    uint32_t time_ms =
        esp_log_timestamp(); /* the record's own t is later: it includes the wait for the UART */
    telemetry_bool(console_room(reply, TEXT_SIZE), "running", stats.running);
    console_u32(reply, "samples", stats.samples);
    console_u32(reply, "dropped", stats.dropped);
    console_u32(reply, "read_errors", stats.read_errors);
    console_u32(reply, "ring_bytes", stats.ring_bytes);
    console_u32(reply, "peak", stats.peak);
    console_u32(reply, "time_ms", time_ms);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mode.get", "", mode_get, "the mode, and the result of the last change"},
    {"mode.set", "to=camera|voice [wait=1]", mode_set,
     "request a mode; wait=1, or typed: reply when the change is done"},
    {"mode.steps", "to=camera|voice|shutdown [from=init|camera|voice|error]", mode_steps,
     "the steps of a mode change (from=: default is the current mode)"},
    {"mode.ledger", "", mode_ledger, "the last change's steps, with the free memory before and after each"},
    {"mode.settle", "[down=N] [up=N] [default=1]", mode_settle, "the pauses in a mode change, ms"},
    {"camera.capture", "", camera_capture, "take a frame"},
    {"stt.get", "", stt_get, "statistics of the microphone's samples"},
};

const console_group_t CMD_MODE = CONSOLE_GROUP(COMMANDS);
