/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Playback of one stream: its buffers, its task, and how it went.
 */
#pragma once

#include <stdbool.h>

#include "audio_ring.h"
#include "tts_decoder.h"

/** Starts it. stream, which the caller writes to, must stay until tts_playback_stop(). */
esp_err_t tts_playback_start(audio_ring_t *stream, uint32_t stream_bytes, tts_decoder_done_t done,
                             void *context);
/** True between start and stop. */
bool tts_playback_exists(void);
bool tts_playback_has_ended(void);
/** After its end. */
tts_playback_t tts_playback_result(void);
/** Ends it if it has not, and frees what start took. Errors as tts_decoder_close(). */
esp_err_t tts_playback_stop(void);
