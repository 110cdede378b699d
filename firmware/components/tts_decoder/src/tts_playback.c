/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tts_playback.h"

#include <inttypes.h>
#include <string.h>

#include "audio_chunk.h"
#include "audio_driver.h"
#include "audio_worker.h"
#include "esp_check.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"
#include "task_core.h"
#include "wav_parser.h"

static const char *TAG = "TTS";

#define COPY_SIZE AUDIO_CHUNK_SIZE /* bytes of the stream processed at a time */
#define SCRATCH_FRAMES (AUDIO_CHUNK_SIZE / (AUDIO_PLAYBACK_CHANNELS * AUDIO_SAMPLE_BYTES))
#define POLL_MS 10 /* polling interval of the stream; the DMA buffers hold 255 ms */
#define WRITE_TIMEOUT_MS 500
#define STOP_TIMEOUT_MS 2000

static audio_worker_t s_worker;
static audio_ring_t *s_stream;
static uint32_t s_stream_bytes;
static tts_decoder_done_t s_done;
static void *s_context;
static uint8_t *s_copy;           /* a chunk of the stream */
static int16_t *s_scratch;        /* a chunk of the same samples in stereo */
static tts_playback_t s_playback; /* owned by the task until it has ended */
static bool s_ended;

/** Reads 1 to len bytes. ESP_ERR_NOT_FINISHED: the playback must stop; ESP_ERR_TIMEOUT: no data. */
static esp_err_t read_stream(audio_worker_t *worker, uint8_t *data, size_t len, size_t *got)
{
    TickType_t start = xTaskGetTickCount();
    for (;;) {
        if (audio_worker_must_stop(worker)) {
            return ESP_ERR_NOT_FINISHED;
        }
        *got = audio_ring_read(s_stream, data, len);
        if (*got > 0) {
            return ESP_OK;
        }
        if (xTaskGetTickCount() - start >= pdMS_TO_TICKS(CONFIG_HOTPIN_TTS_STALL_MS)) {
            ESP_LOGE(TAG, "No data for %d ms", CONFIG_HOTPIN_TTS_STALL_MS);
            return ESP_ERR_TIMEOUT;
        }
        vTaskDelay(pdMS_TO_TICKS(POLL_MS));
    }
}

/** Reads the header (usually 44 bytes) byte by byte, up to the first sample. */
static esp_err_t read_head(audio_worker_t *worker, wav_parser_t *wav)
{
    wav_parser_init(wav, s_stream_bytes);
    while (wav->state == WAV_HEAD) {
        uint8_t byte;
        size_t got;
        esp_err_t err = read_stream(worker, &byte, 1, &got);
        if (err != ESP_OK) {
            return err;
        }
        wav_parser_feed(wav, &byte, 1);
    }
    if (wav->state == WAV_REFUSED) {
        ESP_LOGE(TAG, "Stream refused at byte %" PRIu32 ": %s", wav->offset, wav_error_text(wav->error));
        return wav->error == WAV_NOT_SUPPORTED ? ESP_ERR_NOT_SUPPORTED : ESP_ERR_INVALID_RESPONSE;
    }
    if (wav->sample_rate_hz != AUDIO_SAMPLE_RATE_HZ) {
        ESP_LOGE(TAG, "Stream refused: sample rate is %" PRIu32 " Hz, must be %u", wav->sample_rate_hz,
                 AUDIO_SAMPLE_RATE_HZ);
        return ESP_ERR_NOT_SUPPORTED;
    }
    return ESP_OK;
}

static esp_err_t play_stereo(const int16_t *samples, size_t frames)
{
    size_t written = 0;
    esp_err_t err = audio_driver_write(samples, frames * AUDIO_PLAYBACK_CHANNELS * AUDIO_SAMPLE_BYTES,
                                       &written, WRITE_TIMEOUT_MS);
    s_playback.samples += (uint32_t)(written / (AUDIO_PLAYBACK_CHANNELS * AUDIO_SAMPLE_BYTES));
    return err;
}

static esp_err_t play_mono(const int16_t *samples, size_t frames)
{
    esp_err_t err = ESP_OK;
    while (frames > 0 && err == ESP_OK) {
        size_t count = frames < SCRATCH_FRAMES ? frames : SCRATCH_FRAMES;
        for (size_t i = 0; i < count; i++) {
            s_scratch[2 * i] = samples[i];
            s_scratch[2 * i + 1] = samples[i];
        }
        err = play_stereo(s_scratch, count);
        samples += count;
        frames -= count;
    }
    return err;
}

/** Plays this number of whole frames from s_copy. */
static esp_err_t play_frames(size_t frames, uint16_t channels)
{
    const int16_t *samples = (const int16_t *)s_copy;
    return channels == 1 ? play_mono(samples, frames) : play_stereo(samples, frames);
}

static esp_err_t play_samples(audio_worker_t *worker, const wav_parser_t *wav)
{
    size_t frame_bytes = wav->channels * AUDIO_SAMPLE_BYTES;
    uint32_t left = wav->data_bytes;
    size_t have = 0; /* bytes in s_copy; less than a frame after each iteration */
    while (left > 0) {
        size_t room = COPY_SIZE - have;
        size_t got;
        esp_err_t err = read_stream(worker, s_copy + have, left < room ? left : room, &got);
        if (err != ESP_OK) {
            return err;
        }
        left -= (uint32_t)got;
        have += got;
        size_t frames = have / frame_bytes;
        if (frames > 0) {
            err = play_frames(frames, wav->channels);
            if (err != ESP_OK) {
                return err;
            }
            have -= frames * frame_bytes;
            memmove(s_copy, s_copy + frames * frame_bytes, have);
        }
    }
    vTaskDelay(pdMS_TO_TICKS(AUDIO_PLAYBACK_LATENCY_MS)); /* until the last frame has been played */
    return ESP_OK;
}

static void playback(audio_worker_t *worker)
{
    wav_parser_t wav;
    esp_err_t err = read_head(worker, &wav);
    if (err == ESP_OK) {
        ESP_LOGI(TAG, "Playing %" PRIu32 " bytes, %u channel(s)", wav.data_bytes, wav.channels);
        int64_t start_us = esp_timer_get_time();
        err = play_samples(worker, &wav);
        s_playback.duration_ms = (uint32_t)((esp_timer_get_time() - start_us) / 1000);
    }
    s_playback.result = err;
    ESP_LOGI(TAG, "Playback ended: %s, %" PRIu32 " samples in %" PRIu32 " ms", esp_err_to_name(err),
             s_playback.samples, s_playback.duration_ms);
    __atomic_store_n(&s_ended, true, __ATOMIC_RELEASE);
    if (s_done != NULL) {
        s_done(&s_playback, s_context);
    }
}

static void free_buffers(void)
{
    audio_chunk_give(s_scratch);
    s_scratch = NULL;
    audio_chunk_give(s_copy);
    s_copy = NULL;
}

esp_err_t tts_playback_start(audio_ring_t *stream, uint32_t stream_bytes, tts_decoder_done_t done,
                             void *context)
{
    esp_err_t ret = ESP_OK;
    s_stream = stream;
    s_stream_bytes = stream_bytes;
    s_done = done;
    s_context = context;
    s_playback = (tts_playback_t){.result = ESP_ERR_NOT_FINISHED};
    s_ended = false;
    s_copy = audio_chunk_take();
    ESP_GOTO_ON_FALSE(s_copy != NULL, ESP_ERR_NO_MEM, err, TAG, "no PSRAM for %u bytes", AUDIO_CHUNK_SIZE);
    s_scratch = audio_chunk_take();
    ESP_GOTO_ON_FALSE(s_scratch != NULL, ESP_ERR_NO_MEM, err, TAG, "no PSRAM for %u bytes", AUDIO_CHUNK_SIZE);
    ESP_GOTO_ON_ERROR(audio_worker_start(&s_worker, "tts_playback", playback, CONFIG_HOTPIN_TTS_TASK_STACK,
                                         CONFIG_HOTPIN_TTS_TASK_PRIORITY, TASK_CORE_SOUND),
                      err, TAG, "no memory for a task with %d bytes of stack", CONFIG_HOTPIN_TTS_TASK_STACK);
    return ESP_OK;

err:
    free_buffers();
    return ret;
}

bool tts_playback_exists(void)
{
    return audio_worker_exists(&s_worker);
}

bool tts_playback_has_ended(void)
{
    return __atomic_load_n(&s_ended, __ATOMIC_ACQUIRE);
}

tts_playback_t tts_playback_result(void)
{
    return s_playback;
}

esp_err_t tts_playback_stop(void)
{
    esp_err_t err = audio_worker_join(&s_worker, STOP_TIMEOUT_MS);
    if (err != ESP_OK) {
        return err;
    }
    free_buffers();
    return ESP_OK;
}
