/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The audio driver: speaker and microphone on one full-duplex I2S port, 16 kHz, 16 bit. Playback is stereo,
 * capture is mono. It runs from init to deinit and holds its DMA buffers for exactly that time.
 *
 * init and deinit are for one task (that of the state manager). Between them one task at a time writes and
 * one at a time reads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AUDIO_SAMPLE_RATE_HZ 16000u
#define AUDIO_SAMPLE_BYTES 2u /*!< 16 bit, signed, little endian */
#define AUDIO_PLAYBACK_CHANNELS 2u
#define AUDIO_CAPTURE_CHANNELS 1u

/** Time from the return of audio_driver_write() until its last frame has been played: four DMA buffers of
 * 1,020 frames.
 */
#define AUDIO_PLAYBACK_LATENCY_MS 256u

/** Capabilities of the blocks of audio_driver_blocks(): DMA memory. */
#define AUDIO_DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)

/**
 * @brief Takes the I2S port with its DMA buffers, starts both directions, and waits until samples move;
 * silence plays.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: it is initialised
 *      - ESP_ERR_NO_MEM: no memory for a DMA buffer or one of the driver's objects
 *      - ESP_ERR_NOT_FOUND: the port is in use, or there is no memory for its object of 36 bytes
 *      - ESP_ERR_TIMEOUT: no samples move in one of the directions
 *      After an error no resource is held.
 */
esp_err_t audio_driver_init(void);

/**
 * @brief Stops both directions and releases everything. Waits for a write or read in progress.
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: it is not initialised
 */
esp_err_t audio_driver_deinit(void);

bool audio_driver_is_initialized(void);

/**
 * @brief Plays stereo frames. Returns when they are in the DMA buffers: about 255 ms before the last is
 * played.
 *
 * @param data frames of 2 samples, left first, in memory of any kind
 * @param len bytes, whole frames
 * @param written bytes taken; may be NULL
 * @param timeout_ms for each DMA buffer that must become free
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: data is NULL, len is 0 or not a whole number of frames
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_TIMEOUT: the line does not take samples; *written is the number of bytes taken before that
 */
esp_err_t audio_driver_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms);

/**
 * @brief Reads captured mono samples. Samples not read within about 190 ms are lost, the oldest first.
 *
 * @param len bytes, whole pairs of samples (the ESP32 stores them in pairs)
 * @param got bytes read; may be NULL
 * @return as audio_driver_write()
 */
esp_err_t audio_driver_read(void *data, size_t len, size_t *got, uint32_t timeout_ms);

/**
 * @brief Blocks that init allocates, in that order, for an admission check with AUDIO_DMA_CAPS. The driver's
 * small objects (about 1.2 KB, no block above 152 B) are not included.
 */
const size_t *audio_driver_blocks(size_t *count);

#ifdef __cplusplus
}
#endif
