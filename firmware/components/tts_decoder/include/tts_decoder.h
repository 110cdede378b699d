/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The TTS decoder: a 64 KB buffer in PSRAM between the network and playback, allocated only if a margin
 * stays free; and a task that decodes the stream in it (RIFF/WAVE, 16-bit PCM, 16 kHz, one or two channels)
 * and plays it over the audio driver.
 *
 * One task at a time opens, writes, plays and closes; tts_decoder_get_info() may be called from any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TTS_STREAM_BUFFER_SIZE 65536u
#define TTS_SAFETY_MARGIN 32768u /*!< PSRAM that must stay free in addition to the buffer */
#define TTS_REQUIRED_PSRAM \
    (TTS_STREAM_BUFFER_SIZE + TTS_SAFETY_MARGIN) /*!< least free PSRAM to open a stream */

typedef enum {
    TTS_DECODER_CLOSED,
    TTS_DECODER_OPEN,
    TTS_DECODER_PLAYING,
    TTS_DECODER_ENDED, /*!< played or failed, see tts_decoder_get_playback(); memory is held until close
                        */
} tts_decoder_state_t;

typedef struct {
    tts_decoder_state_t state;
    uint32_t stream_bytes; /*!< announced length of the stream; 0: unknown */
    uint32_t written;      /*!< bytes written since it was opened */
    uint32_t room;         /*!< bytes that fit into the buffer now */
    const void *buffer;    /*!< NULL when closed */
} tts_decoder_info_t;

typedef struct {
    esp_err_t result;     /*!< ESP_OK when the last sample was played; otherwise see tts_decoder_play() */
    uint32_t samples;     /*!< frames played, of the 16 kHz line */
    uint32_t duration_ms; /*!< from the first sample to the end */
} tts_playback_t;

/**
 * Called by the playback task at its end, for every result; not by close. It must not call open, play or
 * close.
 */
typedef void (*tts_decoder_done_t)(const tts_playback_t *playback, void *context);

/**
 * @brief Opens a stream: checks PSRAM, allocates the buffer, logs both and the statistics "Before/After TTS
 * Allocation".
 *
 * @param stream_bytes length of the stream, 0 if unknown
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NO_MEM: less than buffer + margin is free in PSRAM, or no free block is large enough; no
 * resource is held
 *      - ESP_ERR_INVALID_STATE: a stream is open
 */
esp_err_t tts_decoder_open(uint32_t stream_bytes);

/**
 * @brief Appends to the stream, all or nothing.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: data is NULL or size 0
 *      - ESP_ERR_INVALID_STATE: no stream is open
 *      - ESP_ERR_INVALID_SIZE: more than the buffer has room for, or than was announced
 */
esp_err_t tts_decoder_write(const void *data, size_t size);

/**
 * @brief Starts playing the stream, including data written later; returns at once.
 *
 * Takes 12 KB of PSRAM and a task, held until close. The stream is checked as it is read; the result is
 * passed to done, and returned by tts_decoder_get_playback():
 *      - ESP_OK: all samples were played
 *      - ESP_ERR_INVALID_RESPONSE: the stream is malformed (the log has the details)
 *      - ESP_ERR_NOT_SUPPORTED: it is not 16-bit PCM at 16 kHz in one or two channels
 *      - ESP_ERR_TIMEOUT: no data was written within CONFIG_HOTPIN_TTS_STALL_MS, or the audio driver
 * does not take samples
 *      - ESP_ERR_NOT_FINISHED: it was closed meanwhile
 *      - any other error of the audio driver
 *
 * @param done may be NULL
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: no stream is open, it has been played already, or the audio driver is not
 * initialised
 *      - ESP_ERR_NO_MEM: only the stream is held
 */
esp_err_t tts_decoder_play(tts_decoder_done_t done, void *context);

/** @brief Result of the last playback. ESP_ERR_INVALID_STATE: the state is not TTS_DECODER_ENDED. */
esp_err_t tts_decoder_get_playback(tts_playback_t *out);

/**
 * @brief Ends the stream, playing or not, and frees all its memory.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: no stream is open, or the caller is the playback task
 *      - ESP_ERR_TIMEOUT: the playback task did not end within 2 s; nothing was freed, call close again
 */
esp_err_t tts_decoder_close(void);

void tts_decoder_get_info(tts_decoder_info_t *info);

const char *tts_decoder_state_name(tts_decoder_state_t state);

#ifdef __cplusplus
}
#endif
