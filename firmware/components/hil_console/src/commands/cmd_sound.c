/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * audio.tap: digests of the played and the recorded samples. stt.read: the recorded samples themselves.
 */
#include "console.h"
#include "sound_tap.h"
#include "state_manager.h"
#include "stt_pipeline.h"

#define LOCK_MS 5000
#define PIECE_BYTES 128 /* of sound in one string of hex digits */
#define READ_MAX 1024

static esp_err_t audio_tap(const console_request_t *request, console_reply_t *reply)
{
    sound_tap_t tap;
    uint32_t bits = console_arg_u32(request, "sample", 0);
    if (bits > UINT16_MAX) {
        return console_bad_argument(reply, "sample", console_arg(request, "sample"), "at most 65535");
    }
    if (console_arg(request, "reset") != NULL) {
        sound_tap_reset();
        sound_tap_replace(NULL);
    }
    if (console_arg(request, "sample") != NULL) {
        int16_t sample = (int16_t)bits;
        sound_tap_replace(&sample);
    }
    sound_tap_get(&tap);
    console_u32(reply, "frames", tap.frames);
    console_u32(reply, "left", tap.left);
    console_u32(reply, "right", tap.right);
    console_u32(reply, "samples", tap.samples);
    console_u32(reply, "recorded", tap.recorded);
    return ESP_OK;
}

static esp_err_t stt_read(const console_request_t *request, console_reply_t *reply)
{
    bool skip = console_arg(request, "skip") != NULL; /* discard: the UART is slower than the microphone */
    uint32_t left = console_arg_u32(request, "bytes", 0);
    if (left == 0 || left > (skip ? STT_RING_SIZE : READ_MAX) || left % sizeof(int16_t) != 0) {
        return console_bad_argument(reply, "bytes", console_arg(request, "bytes"),
                                    "must be even, 2 to 1024 (with skip=1 to 65536)");
    }
    esp_err_t err = state_manager_lock(SYSTEM_STATE_VOICE_ACTIVE, LOCK_MS);
    if (err != ESP_OK) {
        return console_fail(reply, err,
                            err == ESP_ERR_TIMEOUT ? "a mode change is in progress" : "not in voice mode");
    }
    size_t got = PIECE_BYTES;
    console_array_begin(reply, "data");
    while (err == ESP_OK && left > 0 && got > 0) {
        uint8_t piece[PIECE_BYTES];
        err = stt_pipeline_read(piece, left < sizeof(piece) ? left : sizeof(piece), &got);
        if (got > 0 && !skip) {
            telemetry_bytes(console_room(reply, 2 * got + 4), NULL, piece, got);
        }
        left -= (uint32_t)got;
    }
    console_container_end(reply);
    state_manager_unlock();
    return err;
}

static const console_command_t COMMANDS[] = {
    {"audio.tap", "[reset=1] [sample=N]", audio_tap,
     "frames played and samples recorded since the driver's start or reset=1, with a CRC-32 for each "
     "channel (sample=: until reset=1, the microphone gives only this 16-bit value)"},
    {"stt.read", "bytes=N [skip=1]", stt_read,
     "take recorded samples out of the ring, as hexadecimal digits (skip=1: drop them instead)"},
};

const console_group_t CMD_SOUND = CONSOLE_GROUP(COMMANDS);
