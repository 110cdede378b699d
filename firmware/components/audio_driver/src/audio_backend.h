/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Backend of the audio driver: the I2S port, or a simulation that allocates the same memory. The caller,
 * audio_driver.c, has checked arguments and state.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "audio_driver.h"
#include "esp_err.h"

/* Frames (one sample per channel) in a DMA buffer. 1,020 stereo frames are 4,080 bytes; a DMA descriptor
 * covers at most 4,092. */
#define AUDIO_DMA_FRAMES 1020u
#define AUDIO_DMA_BUFFERS 4u
#define AUDIO_PLAYBACK_FRAME_BYTES (AUDIO_PLAYBACK_CHANNELS * AUDIO_SAMPLE_BYTES)
#define AUDIO_CAPTURE_FRAME_BYTES (AUDIO_CAPTURE_CHANNELS * AUDIO_SAMPLE_BYTES)
#define AUDIO_PLAYBACK_BUFFER_BYTES (AUDIO_DMA_FRAMES * AUDIO_PLAYBACK_FRAME_BYTES)
#define AUDIO_CAPTURE_BUFFER_BYTES (AUDIO_DMA_FRAMES * AUDIO_CAPTURE_FRAME_BYTES)

/** Allocates everything and starts both directions. After an error, no resource stays allocated. */
esp_err_t audio_backend_open(void);
/** Stops and frees everything. */
void audio_backend_close(void);
esp_err_t audio_backend_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms);
esp_err_t audio_backend_read(void *data, size_t len, size_t *got, uint32_t timeout_ms);
