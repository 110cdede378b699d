/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The TTS decoder. A 64 KB buffer in PSRAM between the network and playback is allocated only if a safety
 * margin stays free. A task decodes the stream in the buffer (RIFF/WAVE, 16-bit PCM, 16 kHz, one or two
 * channels) and plays it through the audio driver.
 *
 * Only one task at a time may open, write, play and close. Any task may call tts_decoder_get_info().
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
    (TTS_STREAM_BUFFER_SIZE + TTS_SAFETY_MARGIN) /*!< free PSRAM needed to open a stream */

typedef enum {
    TTS_DECODER_CLOSED,
    TTS_DECODER_OPEN,
    TTS_DECODER_PLAYING,
    TTS_DECODER_ENDED, /*!< played or failed, see tts_decoder_get_playback(); close frees the memory */
} tts_decoder_state_t;

typedef struct {
    tts_decoder_state_t state;
    uint32_t stream_bytes; /*!< announced length of the stream, bytes; 0: unknown */
    uint32_t written;      /*!< bytes written since the stream was opened */
    uint32_t room;         /*!< bytes that fit into the buffer now */
    const void *buffer;    /*!< NULL when closed */
} tts_decoder_info_t;

typedef struct {
    esp_err_t result; /*!< ESP_OK when the last sample was played; otherwise see tts_decoder_play() */
    uint32_t samples; /*!< frames that the audio driver accepted, at 16 kHz; unless result is ESP_OK, the last
                           AUDIO_PLAYBACK_LATENCY_MS of them may not have been played */
    uint32_t duration_ms; /*!< from the first sample to the end */
} tts_playback_t;

/**
 * Called by the playback task when playback has ended, once for each tts_decoder_play() that returned ESP_OK.
 * If tts_decoder_close() ends the playback, the result is ESP_ERR_NOT_FINISHED, and the call is made before
 * close returns ESP_OK. The state is already TTS_DECODER_ENDED. It must not call open, play or close.
 */
typedef void (*tts_decoder_done_t)(const tts_playback_t *playback, void *context);

/**
 * @brief Opens a stream: checks PSRAM and allocates the buffer. Logs the result, and the statistics
 * "Before/After TTS Allocation".
 *
 * @param stream_bytes length of the stream, bytes; 0 if unknown
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NO_MEM: less than TTS_REQUIRED_PSRAM is free, or no free block is large enough; no
 *        resource is held
 *      - ESP_ERR_INVALID_STATE: a stream is already open
 */
esp_err_t tts_decoder_open(uint32_t stream_bytes);

/**
 * @brief Appends either all of the data to the stream, or nothing.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: data is NULL or size 0
 *      - ESP_ERR_INVALID_STATE: no stream is open
 *      - ESP_ERR_INVALID_SIZE: more data than the buffer has room for, or more than was announced
 */
esp_err_t tts_decoder_write(const void *data, size_t size);

/**
 * @brief Starts playing the stream, including data written later, and returns at once.
 *
 * Allocates two audio chunks (audio_chunk.h) and a task; close frees them. The stream is checked
 * while it is played. The result is passed to done and, until close, returned by tts_decoder_get_playback():
 *      - ESP_OK: all samples were played
 *      - ESP_ERR_INVALID_RESPONSE: the stream is malformed (the log has the details)
 *      - ESP_ERR_NOT_SUPPORTED: the stream is not 16-bit PCM at 16 kHz in one or two channels
 *      - ESP_ERR_TIMEOUT: no data was written within CONFIG_HOTPIN_TTS_STALL_MS, or no DMA buffer of the
 *        audio driver became free
 *      - ESP_ERR_NOT_FINISHED: the stream was closed during playback
 *      - any other error of the audio driver
 *
 * @param done may be NULL
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: no stream is open, it has already been played, or the audio driver is not
 *        initialised
 *      - ESP_ERR_NO_MEM: no memory for the task or its buffers; the stream stays open
 */
esp_err_t tts_decoder_play(tts_decoder_done_t done, void *context);

/** @brief Result of the last playback. ESP_ERR_INVALID_STATE: the state is not TTS_DECODER_ENDED;
 * ESP_ERR_INVALID_ARG: out is NULL. */
esp_err_t tts_decoder_get_playback(tts_playback_t *out);

/**
 * @brief Closes the stream, stops its playback, and frees all its memory.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: no stream is open, or the caller is the playback task
 *      - ESP_ERR_TIMEOUT: the playback task did not end within 2 s. The request to end stays set, but no
 *        memory was freed: call close again
 */
esp_err_t tts_decoder_close(void);

void tts_decoder_get_info(tts_decoder_info_t *info);

const char *tts_decoder_state_name(tts_decoder_state_t state);

#ifdef __cplusplus
}
#endif
