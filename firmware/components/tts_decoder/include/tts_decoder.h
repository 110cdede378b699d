/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The TTS decoder's stream: a 64 KB buffer in PSRAM between the network and playback, admitted only with a
 * margin to spare. Playback joins it with the audio driver.
 *
 * One task at a time opens, writes and closes; tts_decoder_get_info() may be called from any.
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
} tts_decoder_state_t;

typedef struct {
    tts_decoder_state_t state;
    uint32_t stream_bytes; /*!< announced length of the stream; 0: unknown */
    uint32_t written;      /*!< bytes taken since it was opened */
    const void *buffer;    /*!< NULL when closed */
} tts_decoder_info_t;

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

/** @brief Ends the stream and gives the buffer back. ESP_ERR_INVALID_STATE: no stream is open. */
esp_err_t tts_decoder_close(void);

void tts_decoder_get_info(tts_decoder_info_t *info);

const char *tts_decoder_state_name(tts_decoder_state_t state);

#ifdef __cplusplus
}
#endif
