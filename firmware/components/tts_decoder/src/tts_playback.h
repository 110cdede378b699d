/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Playback of one stream: its buffers, its task, and its result.
 */
#pragma once

#include <stdbool.h>

#include "audio_ring.h"
#include "tts_decoder.h"

/** Starts playback. The caller writes to stream, which must exist until tts_playback_stop() succeeds.
 * ESP_ERR_NO_MEM: no memory for the task or its buffers. */
esp_err_t tts_playback_start(audio_ring_t *stream, uint32_t stream_bytes, tts_decoder_done_t done,
                             void *context);
/** True between start and stop. */
bool tts_playback_exists(void);
bool tts_playback_has_ended(void);
/** Result of the playback; valid after its end. */
tts_playback_t tts_playback_result(void);
/** Ends playback if it is running, and frees its memory. ESP_ERR_INVALID_STATE: never started, already
 * stopped, or called by the playback task; ESP_ERR_TIMEOUT: the task did not end within 2 s, and no memory
 * was freed. */
esp_err_t tts_playback_stop(void);
