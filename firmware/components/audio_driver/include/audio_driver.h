/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The audio driver: speaker and microphone on one full-duplex I2S port, 16 kHz, 16 bit. Playback is stereo,
 * capture is mono. Init allocates its DMA buffers, and deinit frees them.
 *
 * Only one task (the state manager's) may call init and deinit. In between, one task at a time may write and
 * one task at a time may read.
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

/** Longest time from the return of audio_driver_write() until its last frame has been played: four DMA
 * buffers of 1,020 frames last 255 ms.
 */
#define AUDIO_PLAYBACK_LATENCY_MS 256u

/** Capabilities of the blocks listed by audio_driver_blocks(): DMA memory. */
#define AUDIO_DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)

/**
 * @brief Allocates the I2S port and its DMA buffers, starts both directions, and waits until samples flow.
 * Plays silence until the first write.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already initialised
 *      - ESP_ERR_NO_MEM: no memory for a DMA buffer or one of the driver's objects
 *      - ESP_ERR_NOT_FOUND: the port is in use, or there is no memory for its 36-byte object
 *      - ESP_ERR_TIMEOUT: no samples flow in one of the directions
 *      - any other error of the I2S driver
 *      After an error, no resource stays allocated.
 */
esp_err_t audio_driver_init(void);

/**
 * @brief Stops both directions and releases everything. Waits for a write or read in progress.
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: not initialised
 */
esp_err_t audio_driver_deinit(void);

bool audio_driver_is_initialized(void);

/**
 * @brief Plays stereo frames. Returns when they are in the DMA buffers, about 255 ms before the last frame
 * is played.
 *
 * @param data frames of 2 samples, left first, in memory of any kind
 * @param len bytes, whole frames
 * @param written number of bytes written; may be NULL
 * @param timeout_ms longest wait for each DMA buffer that must become free, ms
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: data is NULL, len is 0 or not a whole number of frames
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_TIMEOUT: no DMA buffer became free; *written is the number of bytes written before that
 */
esp_err_t audio_driver_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms);

/**
 * @brief Reads captured mono samples. Samples not read within about 190 ms are lost, oldest first.
 *
 * @param len bytes, a whole number of sample pairs (the ESP32 stores samples in pairs)
 * @param got bytes read; may be NULL
 * @param timeout_ms longest wait for each DMA buffer that must be filled, ms
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: data is NULL, len is 0 or not a whole number of sample pairs
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_TIMEOUT: no DMA buffer was filled; *got is the number of bytes read before that
 */
esp_err_t audio_driver_read(void *data, size_t len, size_t *got, uint32_t timeout_ms);

/**
 * @brief Sizes in bytes of the blocks that init allocates, in order of allocation, for an admission check
 * with AUDIO_DMA_CAPS. The driver's small objects (about 1.2 KB in total, none above 152 bytes) are not
 * included.
 */
const size_t *audio_driver_blocks(size_t *count);

#ifdef __cplusplus
}
#endif
