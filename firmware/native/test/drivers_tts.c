/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The TTS decoder: plays WAV streams through the audio driver.
 */
#include <string.h>
#include "audio_chunk.h"
#include "audio_driver.h"
#include "drivers_test.h"
#include "esp_heap_caps.h"
#include "esp_rom_crc.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "drivers/gpio.h"
#include "drivers/i2s.h"
#include "tts_decoder.h"

#define HEAD_SIZE 44

static tts_playback_t s_reported;
static volatile int s_reports;
static esp_err_t s_close_from_callback;

static void done(const tts_playback_t *playback, void *context)
{
    s_reported = *playback;
    s_reports += context == &s_reported;
    s_close_from_callback = tts_decoder_close();
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value);
    put16(at + 2, value >> 16);
}

static void make_head(uint8_t head[HEAD_SIZE], uint32_t data_bytes, uint16_t channels, uint32_t rate_hz)
{
    memcpy(head, "RIFF....WAVEfmt ", 16);
    put32(head + 4, HEAD_SIZE - 8 + data_bytes);
    put32(head + 16, 16);
    put16(head + 20, 1);
    put16(head + 22, channels);
    put32(head + 24, rate_hz);
    put32(head + 28, rate_hz * channels * 2);
    put16(head + 32, channels * 2u);
    put16(head + 34, 16);
    memcpy(head + 36, "data", 4);
    put32(head + 40, data_bytes);
}

/* A sample of the test signal. Never zero, so that each frame is counted as sounding. */
static int16_t sample(uint32_t index)
{
    return (int16_t)(1 + index % 30000);
}

static void write_all(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        tts_decoder_info_t info;
        tts_decoder_get_info(&info);
        size_t part = size < info.room ? size : info.room;
        if (part == 0) {
            vTaskDelay(pdMS_TO_TICKS(20));
            continue;
        }
        CHECK_EQUAL(tts_decoder_write(bytes, part), ESP_OK);
        bytes += part;
        size -= part;
    }
}

/* Writes in pieces of odd length, so that frames are split. */
static void write_samples(uint32_t count)
{
    int16_t piece[333];
    for (uint32_t at = 0; at < count;) {
        uint32_t part = count - at < 333 ? count - at : 333;
        for (uint32_t i = 0; i < part; i++) {
            piece[i] = sample(at + i);
        }
        size_t cut = part > 100 ? 101 : part * 2;
        write_all(piece, cut);
        if (at % 2997 == 0) {
            vTaskDelay(pdMS_TO_TICKS(30)); // until playback has read the partial frame
        }
        write_all((uint8_t *)piece + cut, part * 2 - cut);
        at += part;
    }
}

static tts_decoder_state_t state(void)
{
    tts_decoder_info_t info;
    tts_decoder_get_info(&info);
    return info.state;
}

static bool wait_for_report(int reports, uint32_t timeout_ms)
{
    for (uint32_t waited = 0; waited < timeout_ms && s_reports < reports; waited += 5) {
        vTaskDelay(pdMS_TO_TICKS(5));
    }
    return s_reports >= reports;
}

static uint32_t expected_crc(uint32_t crc, uint32_t frames, uint16_t channels)
{
    for (uint32_t i = 0; i < frames; i++) {
        int16_t frame[2] = {sample(channels * i), sample(channels * i + channels - 1)};
        crc = esp_rom_crc32_le(crc, (const uint8_t *)frame, sizeof frame);
    }
    return crc;
}

/* Streams `frames` frames of audio through the 64 KB buffer. */
static void play_stream(uint32_t frames, uint16_t channels, bool announced)
{
    uint8_t head[HEAD_SIZE];
    uint32_t data_bytes = frames * channels * 2;
    int reports = s_reports;
    heaps_t before = heaps_now();
    native_i2s_line_t line = native_i2s_line(I2S_NUM_1);
    make_head(head, data_bytes, channels, 16000);
    CHECK_EQUAL(tts_decoder_open(announced ? HEAD_SIZE + data_bytes : 0), ESP_OK);
    vTaskDelay(pdMS_TO_TICKS(100)); // until the short-lived task that writes the statistics has ended
    CHECK_EQUAL(state(), TTS_DECODER_OPEN);
    tts_playback_t result;
    CHECK_EQUAL(tts_decoder_get_playback(&result), ESP_ERR_INVALID_STATE);
    heaps_t opened = heaps_now();
    CHECK_EQUAL(tts_decoder_play(done, &s_reported), ESP_OK);
    test_note("TTS internal %d\n", (int)(opened.internal_free - heaps_now().internal_free));
    test_note("TTS psram %d\n", (int)(opened.psram_free - heaps_now().psram_free));
    CHECK_EQUAL(tts_decoder_play(done, &s_reported), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(state(), TTS_DECODER_PLAYING);
    write_all(head, sizeof head);
    write_samples(frames * channels);
    CHECK(wait_for_report(reports + 1, 10000));
    CHECK_EQUAL(s_reports, reports + 1);
    CHECK_EQUAL(s_close_from_callback, ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(s_reported.result, ESP_OK);
    CHECK_EQUAL(s_reported.samples, frames);
    CHECK(s_reported.duration_ms >= frames / 16 && s_reported.duration_ms <= frames / 16 + 400);
    CHECK_EQUAL(state(), TTS_DECODER_ENDED);
    CHECK_EQUAL(tts_decoder_get_playback(&result), ESP_OK);
    CHECK_EQUAL(result.samples, frames);
    native_i2s_line_t heard = native_i2s_line(I2S_NUM_1);
    CHECK_EQUAL(heard.sounding - line.sounding, frames);
    CHECK_EQUAL(heard.crc32, expected_crc(line.crc32, frames, channels));
    CHECK_EQUAL(tts_decoder_close(), ESP_OK);
    CHECK_EQUAL(state(), TTS_DECODER_CLOSED);
    vTaskDelay(pdMS_TO_TICKS(500));
    CHECK_EQUAL(native_i2s_line(I2S_NUM_1).sounding, heard.sounding); // silence, not the last buffers again
    check_heaps("stream given back", before, heaps_now());
}

static void start(void)
{
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    CHECK_EQUAL(audio_chunk_prepare(), ESP_OK); // the pool stays allocated
    CHECK_EQUAL(tts_decoder_open(0),
                ESP_OK); // so that the one-time allocations of the first log are made now
    CHECK_EQUAL(tts_decoder_close(), ESP_OK);
    vTaskDelay(pdMS_TO_TICKS(2000));
}

static void case_tts_play(void)
{
    start();
    play_stream(16000, 1, true);
    play_stream(7001, 2, true);
    play_stream(100000, 1, false); // 200,000 bytes through 65,536
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
}

static esp_err_t outcome(const void *data, size_t size, uint32_t stream_bytes)
{
    int reports = s_reports;
    heaps_t before = heaps_now();
    CHECK_EQUAL(tts_decoder_open(stream_bytes), ESP_OK);
    CHECK_EQUAL(tts_decoder_write(data, size), ESP_OK);
    CHECK_EQUAL(tts_decoder_play(done, &s_reported), ESP_OK);
    CHECK(wait_for_report(reports + 1, 10000));
    CHECK_EQUAL(tts_decoder_close(), ESP_OK);
    vTaskDelay(pdMS_TO_TICKS(500));
    check_heaps("outcome", before, heaps_now());
    return s_reported.result;
}

static void case_tts_refused(void)
{
    uint8_t stream[HEAD_SIZE + 400] = {0};
    start();
    make_head(stream, 400, 1, 16000);
    CHECK_EQUAL(outcome(stream, sizeof stream, sizeof stream), ESP_OK);
    CHECK_EQUAL(outcome("no wave at all, only text to be read", 36, 0), ESP_ERR_INVALID_RESPONSE);
    make_head(stream, 400, 1, 22050);
    CHECK_EQUAL(outcome(stream, sizeof stream, 0), ESP_ERR_NOT_SUPPORTED);
    make_head(stream, 400, 3, 16000);
    CHECK_EQUAL(outcome(stream, sizeof stream, 0), ESP_ERR_NOT_SUPPORTED);
    make_head(stream, 300, 1, 16000); // data after the samples is not played
    CHECK_EQUAL(outcome(stream, sizeof stream, sizeof stream), ESP_OK);
    CHECK_EQUAL(s_reported.samples, 150);
    make_head(stream, 401, 1, 16000);
    CHECK_EQUAL(outcome(stream, sizeof stream, 0), ESP_ERR_INVALID_RESPONSE);
    make_head(stream, 402, 1, 16000); // longer than announced
    CHECK_EQUAL(outcome(stream, sizeof stream, sizeof stream), ESP_ERR_INVALID_RESPONSE);
    CHECK_EQUAL(outcome(stream, sizeof stream, 0), ESP_ERR_TIMEOUT); // the last two bytes are missing
    CHECK_EQUAL(s_reported.samples, 200);
    CHECK_EQUAL(outcome(stream, 20, 0), ESP_ERR_TIMEOUT);
    CHECK_EQUAL(s_reported.samples, 0);
    put32(stream + 4, UINT32_MAX); // only the announced length gives the end
    CHECK_EQUAL(outcome(stream, 40, 40), ESP_ERR_INVALID_RESPONSE);
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
}

static void case_tts_states(void)
{
    uint8_t head[HEAD_SIZE];
    CHECK_EQUAL(tts_decoder_play(NULL, NULL), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(tts_decoder_close(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(tts_decoder_get_playback(NULL), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(tts_decoder_open(0), ESP_OK);
    CHECK_EQUAL(tts_decoder_play(NULL, NULL), ESP_ERR_INVALID_STATE); // no audio driver
    CHECK_EQUAL(tts_decoder_close(), ESP_OK);
    start();
    heaps_t before = heaps_now();
    make_head(head, 160000, 1, 16000);
    CHECK_EQUAL(tts_decoder_open(0), ESP_OK);
    write_all(head, sizeof head);
    CHECK_EQUAL(tts_decoder_play(done, &s_reported), ESP_OK);
    for (int i = 0; i < 40; i++) {
        write_all((int16_t[500]){[0 ... 499] = 5}, 1000);
    }
    vTaskDelay(pdMS_TO_TICKS(200));
    CHECK_EQUAL(state(), TTS_DECODER_PLAYING);
    int reports = s_reports;
    int64_t begin = esp_timer_get_time();
    CHECK_EQUAL(tts_decoder_close(), ESP_OK);
    CHECK(elapsed_ms(begin) < 500);
    CHECK_EQUAL(s_reports, reports + 1);
    CHECK_EQUAL(s_reported.result, ESP_ERR_NOT_FINISHED);
    CHECK_EQUAL(state(), TTS_DECODER_CLOSED);
    vTaskDelay(pdMS_TO_TICKS(500));
    check_heaps("closed while playing", before, heaps_now());
    CHECK_EQUAL(tts_decoder_open(0), ESP_OK);
    vTaskDelay(pdMS_TO_TICKS(500));
    heaps_t opened = heaps_now();
    for (uint32_t nth = 1; nth <= 2; nth++) {
        fail_allocation(nth);
        CHECK_EQUAL(tts_decoder_play(NULL, NULL), ESP_ERR_NO_MEM);
        CHECK(allocation_failed());
        check_heaps("not played", opened, heaps_now());
        CHECK_EQUAL(state(), TTS_DECODER_OPEN);
    }
    CHECK_EQUAL(tts_decoder_close(), ESP_OK);
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
}

/* Frames that the audio driver accepted before close are played, the last ones after close. */
static void case_tts_aborted(void)
{
    static int16_t s_sound[16000] = {[0 ... 15999] = 5};
    uint8_t head[HEAD_SIZE];
    start();
    make_head(head, sizeof s_sound, 1, 16000);
    native_i2s_line_t line = native_i2s_line(I2S_NUM_1);
    CHECK_EQUAL(tts_decoder_open(0), ESP_OK);
    write_all(head, sizeof head);
    write_all(s_sound, sizeof s_sound);
    CHECK_EQUAL(tts_decoder_play(done, &s_reported), ESP_OK);
    vTaskDelay(pdMS_TO_TICKS(400));
    CHECK_EQUAL(tts_decoder_close(), ESP_OK);
    CHECK_EQUAL(s_reported.result, ESP_ERR_NOT_FINISHED);
    uint32_t played = (uint32_t)(native_i2s_line(I2S_NUM_1).sounding - line.sounding);
    CHECK(s_reported.samples > played);
    CHECK(s_reported.samples - played <= AUDIO_PLAYBACK_LATENCY_MS * 16);
    vTaskDelay(pdMS_TO_TICKS(AUDIO_PLAYBACK_LATENCY_MS));
    CHECK_EQUAL(native_i2s_line(I2S_NUM_1).sounding - line.sounding, s_reported.samples);
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
}

const test_case_t g_tts_cases[] = {
    {"tts_aborted", case_tts_aborted},
    {"tts_play", case_tts_play},
    {"tts_refused", case_tts_refused},
    {"tts_states", case_tts_states},
    {NULL, NULL},
};
