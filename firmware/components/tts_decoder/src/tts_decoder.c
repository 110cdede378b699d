/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tts_decoder.h"

#include <inttypes.h>

#include "array_size.h"
#include "audio_driver.h"
#include "audio_ring.h"
#include "esp_check.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "memory_manager.h"
#include "sdkconfig.h"
#if CONFIG_HOTPIN_MEM_RECLAIM
#include "memory_reclaim.h"
#endif
#include "tts_logic.h"
#include "tts_playback.h"

static const char *TAG = "TTS";

/* 8BIT, because the buffer is written byte by byte: other memory may allow 32-bit accesses only. */
#define STREAM_CAPS (MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT)

static struct {
    uint8_t *buffer;
    audio_ring_t ring; /* in buffer: tts_decoder_write() fills it, playback empties it */
    uint32_t written;
    uint32_t stream_bytes;
} s_stream;

static uint32_t psram_free_bytes(void)
{
    return (uint32_t)heap_caps_get_free_size(MALLOC_CAP_SPIRAM);
}

static uint32_t psram_largest_bytes(void)
{
    return (uint32_t)heap_caps_get_largest_free_block(STREAM_CAPS);
}

static tts_admission_t admit(uint32_t psram_free)
{
    return tts_admit(psram_free, memory_manager_check_psram_available(TTS_STREAM_BUFFER_SIZE));
}

#if CONFIG_HOTPIN_MEM_RECLAIM
static bool is_admitted(void *context)
{
    (void)context;
    return admit(psram_free_bytes()) == TTS_ADMITTED;
}
#endif

static esp_err_t check_psram(uint32_t psram_free)
{
    switch (admit(psram_free)) {
    case TTS_TOO_LITTLE:
        ESP_LOGE(TAG, "Insufficient PSRAM: need %u bytes, have %" PRIu32 " bytes", TTS_REQUIRED_PSRAM,
                 psram_free);
        return ESP_ERR_NO_MEM;
    case TTS_NO_BLOCK:
        ESP_LOGE(TAG,
                 "No contiguous PSRAM: need one block of %u bytes, largest is %" PRIu32 " of %" PRIu32
                 " bytes free",
                 TTS_STREAM_BUFFER_SIZE, psram_largest_bytes(), psram_free);
        return ESP_ERR_NO_MEM;
    case TTS_ADMITTED: break;
    }
    return ESP_OK;
}

esp_err_t tts_decoder_open(uint32_t stream_bytes)
{
    ESP_RETURN_ON_FALSE(s_stream.buffer == NULL, ESP_ERR_INVALID_STATE, TAG, "a stream is already open");
    memory_manager_log_stats("Before TTS Allocation");

#if CONFIG_HOTPIN_MEM_RECLAIM
    if (!is_admitted(NULL)) {
        memory_reclaim_until(MALLOC_CAP_SPIRAM, is_admitted, NULL);
    }
#endif
    uint32_t free_before = psram_free_bytes();
    esp_err_t err = check_psram(free_before);
    if (err != ESP_OK) {
        return err;
    }
    uint8_t *buffer = heap_caps_malloc(TTS_STREAM_BUFFER_SIZE, STREAM_CAPS);
    if (buffer == NULL) {
        ESP_LOGE(TAG, "Stream buffer of %u bytes failed despite %" PRIu32 " bytes free",
                 TTS_STREAM_BUFFER_SIZE, free_before);
        return ESP_ERR_NO_MEM;
    }
    s_stream.buffer = buffer;
    audio_ring_init(&s_stream.ring, buffer, TTS_STREAM_BUFFER_SIZE);
    s_stream.written = 0;
    s_stream.stream_bytes = stream_bytes;
    ESP_LOGI(TAG,
             "Stream buffer: %u bytes at %p, PSRAM free %" PRIu32 " -> %" PRIu32 ", largest block %" PRIu32,
             TTS_STREAM_BUFFER_SIZE, buffer, free_before, psram_free_bytes(), psram_largest_bytes());
    memory_manager_log_stats("After TTS Allocation");
    return ESP_OK;
}

esp_err_t tts_decoder_write(const void *data, size_t size)
{
    ESP_RETURN_ON_FALSE(data != NULL && size > 0, ESP_ERR_INVALID_ARG, TAG, "data is NULL or size is 0");
    ESP_RETURN_ON_FALSE(s_stream.buffer != NULL, ESP_ERR_INVALID_STATE, TAG, "no stream is open");
    uint32_t room = audio_ring_room(&s_stream.ring);
    ESP_RETURN_ON_FALSE(tts_write_fits(s_stream.written, s_stream.stream_bytes, room, size),
                        ESP_ERR_INVALID_SIZE, TAG, "no room for %u bytes after the %" PRIu32 " written",
                        (unsigned)size, s_stream.written);
    audio_ring_write(&s_stream.ring, data, size);
    s_stream.written += (uint32_t)size;
    return ESP_OK;
}

esp_err_t tts_decoder_play(tts_decoder_done_t done, void *context)
{
    ESP_RETURN_ON_FALSE(s_stream.buffer != NULL, ESP_ERR_INVALID_STATE, TAG, "no stream is open");
    ESP_RETURN_ON_FALSE(!tts_playback_exists(), ESP_ERR_INVALID_STATE, TAG,
                        "the stream has already been played");
    ESP_RETURN_ON_FALSE(audio_driver_is_initialized(), ESP_ERR_INVALID_STATE, TAG,
                        "the audio driver is not initialised");
    return tts_playback_start(&s_stream.ring, s_stream.stream_bytes, done, context);
}

esp_err_t tts_decoder_get_playback(tts_playback_t *out)
{
    ESP_RETURN_ON_FALSE(out != NULL, ESP_ERR_INVALID_ARG, TAG, "out is NULL");
    ESP_RETURN_ON_FALSE(tts_playback_exists() && tts_playback_has_ended(), ESP_ERR_INVALID_STATE, TAG,
                        "no playback has ended");
    *out = tts_playback_result();
    return ESP_OK;
}

esp_err_t tts_decoder_close(void)
{
    ESP_RETURN_ON_FALSE(s_stream.buffer != NULL, ESP_ERR_INVALID_STATE, TAG, "no stream is open");
    if (tts_playback_exists()) {
        ESP_RETURN_ON_ERROR(tts_playback_stop(), TAG, "the playback task did not end");
    }
    uint8_t *buffer = s_stream.buffer;
    s_stream.buffer = NULL;
    heap_caps_free(buffer);
    ESP_LOGI(TAG, "Stream closed after %" PRIu32 " bytes, PSRAM free %" PRIu32, s_stream.written,
             psram_free_bytes());
    return ESP_OK;
}

static tts_decoder_state_t state(void)
{
    if (s_stream.buffer == NULL) {
        return TTS_DECODER_CLOSED;
    }
    if (!tts_playback_exists()) {
        return TTS_DECODER_OPEN;
    }
    return tts_playback_has_ended() ? TTS_DECODER_ENDED : TTS_DECODER_PLAYING;
}

void tts_decoder_get_info(tts_decoder_info_t *info)
{
    *info = (tts_decoder_info_t){
        .state = state(),
        .stream_bytes = s_stream.stream_bytes,
        .written = s_stream.written,
        .room = s_stream.buffer != NULL ? audio_ring_room(&s_stream.ring) : 0,
        .buffer = s_stream.buffer,
    };
}

const char *tts_decoder_state_name(tts_decoder_state_t state)
{
    static const char *const NAMES[] = {
        [TTS_DECODER_CLOSED] = "closed",
        [TTS_DECODER_OPEN] = "open",
        [TTS_DECODER_PLAYING] = "playing",
        [TTS_DECODER_ENDED] = "ended",
    };
    return (unsigned)state < ARRAY_SIZE(NAMES) ? NAMES[state] : "?";
}
