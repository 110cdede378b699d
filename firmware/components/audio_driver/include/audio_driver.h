/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The audio driver: speaker and microphone on one full-duplex I2S port, 16 kHz, 16 bit. Playback is stereo,
 * capture is mono. It runs from init to deinit; its DMA buffers are held for that time and for no longer.
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

/** From audio_driver_write()'s return until its last frame has been heard: four DMA buffers of 1,020 frames.
 */
#define AUDIO_PLAYBACK_LATENCY_MS 256u

/** DMA memory: the capabilities audio_driver_blocks() are to be had with. */
#define AUDIO_DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)

/**
 * @brief Takes the I2S port with its DMA buffers, starts both directions, and waits until samples move;
 * silence plays.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: it is initialised
 *      - ESP_ERR_NO_MEM: a DMA buffer or one of the driver's objects could not be had
 *      - ESP_ERR_NOT_FOUND: the port is in use, or its object of 36 bytes could not be had
 *      - ESP_ERR_TIMEOUT: no samples move in one of the directions
 *      After an error nothing is kept.
 */
esp_err_t audio_driver_init(void);

/**
 * @brief Stops both directions and gives everything back. Waits for a write or read that is under way.
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: it is not initialised
 */
esp_err_t audio_driver_deinit(void);

bool audio_driver_is_initialized(void);

/**
 * @brief Plays stereo frames. Returns when they are in the DMA buffers: some 255 ms before the last is heard.
 *
 * @param data frames of 2 samples, left first, in memory of any kind
 * @param len bytes, whole frames
 * @param written bytes taken; may be NULL
 * @param timeout_ms for each DMA buffer that must become free
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: data is NULL, len is 0 or no whole number of frames
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_TIMEOUT: the line does not take samples; *written tells how far it came
 */
esp_err_t audio_driver_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms);

/**
 * @brief Captured mono samples. Those that nobody reads within some 190 ms are lost, the oldest first.
 *
 * @param len bytes, whole pairs of samples (the ESP32 stores them in pairs)
 * @param got bytes read; may be NULL
 * @return as audio_driver_write()
 */
esp_err_t audio_driver_read(void *data, size_t len, size_t *got, uint32_t timeout_ms);

/**
 * @brief The blocks that init needs, in the order it takes them, for an admission check with AUDIO_DMA_CAPS.
 * The driver's small objects (about 1.2 KB, no block above 152 B) are not in it.
 */
const size_t *audio_driver_blocks(size_t *count);

#ifdef __cplusplus
}
#endif
