/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * tts.*: the TTS decoder's stream and its playback. The commands hold the state manager's lock, because a
 * mode change closes the stream.
 */
#include "console.h"
#include "esp_err.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "state_manager.h"
#include "tts_decoder.h"

#define LOCK_MS 5000

/* Much longer than any playback: the buffer holds 2 s of sound, and no data can be written during wait=1. */
#define PLAY_WAIT_MS 10000
#define PLAY_POLL_MS 10

static void add_state(console_reply_t *reply)
{
    tts_decoder_info_t info;
    tts_decoder_get_info(&info);
    telemetry_str(console_room(reply, 40), "state", tts_decoder_state_name(info.state));
    console_u32(reply, "written", info.written);
    console_u32(reply, "room", info.room);
    console_u32(reply, "psram_free", (uint32_t)heap_caps_get_free_size(MALLOC_CAP_SPIRAM));
    console_u32(reply, "required", TTS_REQUIRED_PSRAM);
    console_u32(reply, "largest", (uint32_t)heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM));
}

static esp_err_t lock(console_reply_t *reply, system_state_t state)
{
    esp_err_t err = state_manager_lock(state, LOCK_MS);
    if (err != ESP_OK) {
        console_fail(reply, err,
                     err == ESP_ERR_TIMEOUT ? "a mode change is in progress" : "not in voice mode");
    }
    return err;
}

static esp_err_t tts_open(const console_request_t *request, console_reply_t *reply)
{
    esp_err_t err = lock(reply, SYSTEM_STATE_ANY);
    if (err != ESP_OK) {
        return err;
    }
    err = tts_decoder_open(console_arg_u32(request, "bytes", 0));
    state_manager_unlock();
    if (err == ESP_ERR_NO_MEM) {
        return console_fail(
            reply, err, "PSRAM: need %u bytes and a block of %u, have %u bytes and a block of %u",
            TTS_REQUIRED_PSRAM, TTS_STREAM_BUFFER_SIZE, (unsigned)heap_caps_get_free_size(MALLOC_CAP_SPIRAM),
            (unsigned)heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM));
    }
    if (err != ESP_OK) {
        return console_fail(reply, err, "a stream is already open");
    }
    add_state(reply);
    return ESP_OK;
}

static esp_err_t tts_write(const console_request_t *request, console_reply_t *reply)
{
    uint8_t data[CONSOLE_BASE64_MAX];
    size_t length = 0;
    console_parse_base64(console_arg(request, "data"), data, sizeof(data), &length);
    esp_err_t err = lock(reply, SYSTEM_STATE_ANY);
    if (err != ESP_OK) {
        return err;
    }
    err = tts_decoder_write(data, length);
    state_manager_unlock();
    if (err != ESP_OK) {
        return console_fail(reply, err,
                            err == ESP_ERR_INVALID_SIZE ? "the stream has no room for %u more bytes"
                                                        : "no stream is open for %u bytes",
                            (unsigned)length);
    }
    add_state(reply);
    return ESP_OK;
}

/** Called by the playback task. Its stack is large enough to send a record. */
static void playback_done(const tts_playback_t *playback, void *context)
{
    (void)context;
    char buffer[TELEMETRY_BUFFER_SIZE];
    telemetry_record_t record;
    tts_decoder_info_t info;
    tts_decoder_get_info(&info);
    telemetry_event_begin(&record, buffer, sizeof(buffer), "tts");
    telemetry_str(&record, "state", tts_decoder_state_name(info.state));
    telemetry_str(&record, "err", esp_err_to_name(playback->result));
    telemetry_u32(&record, "samples", playback->samples);
    telemetry_u32(&record, "duration_ms", playback->duration_ms);
    telemetry_send(&record);
}

static esp_err_t wait_for_end(console_reply_t *reply)
{
    tts_playback_t playback;
    for (uint32_t waited_ms = 0; tts_decoder_get_playback(&playback) != ESP_OK; waited_ms += PLAY_POLL_MS) {
        tts_decoder_info_t info;
        tts_decoder_get_info(&info);
        if (info.state == TTS_DECODER_CLOSED) {
            return console_fail(reply, ESP_ERR_NOT_FINISHED, "the stream was closed during playback");
        }
        if (waited_ms >= PLAY_WAIT_MS) {
            return console_fail(reply, ESP_ERR_TIMEOUT, "still playing after %d ms", PLAY_WAIT_MS);
        }
        vTaskDelay(pdMS_TO_TICKS(PLAY_POLL_MS));
    }
    if (playback.result != ESP_OK) {
        return console_fail(reply, playback.result, "playback ended after %u samples",
                            (unsigned)playback.samples);
    }
    console_u32(reply, "samples", playback.samples);
    console_u32(reply, "duration_ms", playback.duration_ms);
    return ESP_OK;
}

static esp_err_t tts_play(const console_request_t *request, console_reply_t *reply)
{
    esp_err_t err = lock(reply, SYSTEM_STATE_VOICE_ACTIVE);
    if (err != ESP_OK) {
        return err;
    }
    err = tts_decoder_play(playback_done, NULL);
    state_manager_unlock();
    if (err != ESP_OK) {
        return console_fail(reply, err,
                            err == ESP_ERR_NO_MEM ? "no memory for the playback task and its buffers"
                                                  : "no stream is open, or it has already been played");
    }
    if (console_arg(request, "wait") != NULL) {
        err = wait_for_end(reply);
    }
    if (err == ESP_OK) {
        add_state(reply);
    }
    return err;
}

static esp_err_t tts_close(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    esp_err_t err = lock(reply, SYSTEM_STATE_ANY);
    if (err != ESP_OK) {
        return err;
    }
    err = tts_decoder_close();
    state_manager_unlock();
    if (err != ESP_OK) {
        return console_fail(reply, err,
                            err == ESP_ERR_TIMEOUT ? "the playback task did not end" : "no stream is open");
    }
    add_state(reply);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"tts.open", "[bytes=N]", tts_open, "open a stream (bytes=: its length); allocates 64 KB of PSRAM"},
    {"tts.write", "data=BASE64", tts_write, "append to the stream"},
    {"tts.play", "[wait=1]", tts_play,
     "play the stream (voice mode only); wait=1: reply when playback ends; the tts event reports the result"},
    {"tts.close", "", tts_close, "close the stream and free its buffer"},
};

const console_group_t CMD_TTS = CONSOLE_GROUP(COMMANDS);
