/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The TTS decoder: a 64 KB buffer in PSRAM between the network and playback, admitted only with a margin to
 * spare; and a task that decodes the stream in it (RIFF/WAVE, 16-bit PCM, 16 kHz, one or two channels) and
 * plays it over the audio driver.
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
#define TTS_SAFETY_MARGIN 32768u /*!< PSRAM that must stay free beside the buffer */
#define TTS_REQUIRED_PSRAM \
    (TTS_STREAM_BUFFER_SIZE + TTS_SAFETY_MARGIN) /*!< free PSRAM, at least, to open a stream */

typedef enum {
    TTS_DECODER_CLOSED,
    TTS_DECODER_OPEN,
    TTS_DECODER_PLAYING,
    TTS_DECODER_ENDED, /*!< played, well or not: tts_decoder_get_playback() tells; memory is held until close
                        */
} tts_decoder_state_t;

typedef struct {
    tts_decoder_state_t state;
    uint32_t stream_bytes; /*!< announced length of the stream; 0: unknown */
    uint32_t written;      /*!< bytes taken since it was opened */
    uint32_t room;         /*!< bytes that a write has room for now */
    const void *buffer;    /*!< NULL when closed */
} tts_decoder_info_t;

typedef struct {
    esp_err_t result;     /*!< ESP_OK when the last sample was heard; else as tts_decoder_play() lists */
    uint32_t samples;     /*!< frames played, of the 16 kHz line */
    uint32_t duration_ms; /*!< from the first sample to the end */
} tts_playback_t;

/**
 * Called by the playback task at its end, whatever it was; not by close. It must not call open, play or
 * close.
 */
typedef void (*tts_decoder_done_t)(const tts_playback_t *playback, void *context);

/**
 * @brief Opens a stream: checks PSRAM, allocates the buffer, logs both and the statistics "Before/After TTS
 * Allocation".
 *
 * @param stream_bytes the stream's length if it is known, else 0
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NO_MEM: less than buffer + margin is free in PSRAM, or no free block holds the buffer;
 * nothing is kept
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
 * @brief Starts playing what is in the stream and what is still written to it; returns at once.
 *
 * Takes 12 KB of PSRAM and a task, held until close. The stream is checked as it is read; how it went is
 * reported to done, and by tts_decoder_get_playback():
 *      - ESP_OK: all samples were heard
 *      - ESP_ERR_INVALID_RESPONSE: it is malformed (the log says how)
 *      - ESP_ERR_NOT_SUPPORTED: it is not 16-bit PCM at 16 kHz in one or two channels
 *      - ESP_ERR_TIMEOUT: nothing more was written within CONFIG_HOTPIN_TTS_STALL_MS, or the audio driver
 * does not take samples
 *      - ESP_ERR_NOT_FINISHED: it was closed meanwhile
 *      - else the audio driver's error
 *
 * @param done may be NULL
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: no stream is open, it is or was played, or the audio driver is not
 * initialised
 *      - ESP_ERR_NO_MEM: nothing is kept but the stream
 */
esp_err_t tts_decoder_play(tts_decoder_done_t done, void *context);

/** @brief How the last playback went. ESP_ERR_INVALID_STATE: it is not TTS_DECODER_ENDED. */
esp_err_t tts_decoder_get_playback(tts_playback_t *out);

/**
 * @brief Ends the stream, playing or not, and gives every byte back.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: no stream is open, or the caller is the playback task
 *      - ESP_ERR_TIMEOUT: the playback task did not end within 2 s; nothing was freed, close again
 */
esp_err_t tts_decoder_close(void);

void tts_decoder_get_info(tts_decoder_info_t *info);

const char *tts_decoder_state_name(tts_decoder_state_t state);

#ifdef __cplusplus
}
#endif
