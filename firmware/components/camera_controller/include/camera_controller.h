/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The camera: VGA JPEG, frame buffer in PSRAM. What it takes is held from init to deinit.
 *
 * init, deinit and capture are for one task at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Capabilities that camera_controller_blocks() and camera_controller_psram_blocks() are to be had with. */
#define CAMERA_DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)
#define CAMERA_FRAME_CAPS (MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT)

typedef struct {
    uint32_t width;
    uint32_t height;
    uint32_t bytes;       /*!< of the JPEG data */
    bool soi;             /*!< it begins with the start-of-image marker FF D8 FF */
    bool eoi;             /*!< it ends with the end-of-image marker FF D9 (zeros behind it do not count) */
    uint32_t duration_ms; /*!< from asking for the frame to having it */
} camera_frame_info_t;

/**
 * @brief Resets the sensor over its power-down line, then takes the driver's memory and starts it.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: it is initialised
 *      - ESP_ERR_NO_MEM: no PSRAM, or a block could not be had; nothing is kept
 *      - ESP_ERR_NOT_SUPPORTED: no sensor answers, or one that is not known
 *      - else the driver's error; nothing is kept
 */
esp_err_t camera_controller_init(void);

/** @brief Gives everything back and powers the sensor down. ESP_ERR_INVALID_STATE: it is not initialised. */
esp_err_t camera_controller_deinit(void);

bool camera_controller_is_initialized(void);

/**
 * @brief Takes one frame, looks for its markers, and gives it back to the driver.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: out is NULL
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_TIMEOUT: no frame came within the driver's 4 s
 *      - ESP_ERR_INVALID_RESPONSE: a frame without its markers, or of another size than asked for; *out tells
 */
esp_err_t camera_controller_capture(camera_frame_info_t *out);

/**
 * @brief The internal blocks that init needs, for an admission check with CAMERA_DMA_CAPS: the DMA buffer,
 * which must be in one piece, and the driver task's stack. Small objects (about 1 KB) are not in it.
 */
const size_t *camera_controller_blocks(size_t *count);

/** @brief The frame buffers, for an admission check with CAMERA_FRAME_CAPS. */
const size_t *camera_controller_psram_blocks(size_t *count);

#ifdef __cplusplus
}
#endif
