/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The camera: VGA JPEG, frame buffer in PSRAM. Its memory is allocated from init to deinit.
 *
 * Only one task at a time may call init, deinit and capture.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Capabilities of the blocks listed by camera_controller_blocks() and camera_controller_psram_blocks(). */
#define CAMERA_DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)
#define CAMERA_FRAME_CAPS (MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT)

typedef struct {
    uint32_t width;
    uint32_t height;
    uint32_t bytes;       /*!< length of the JPEG data */
    bool soi;             /*!< starts with the start-of-image marker FF D8 FF */
    bool eoi;             /*!< ends with the end-of-image marker FF D9; zeros after it are ignored */
    uint32_t duration_ms; /*!< from the request until the frame is available */
} camera_frame_info_t;

/**
 * @brief Resets the sensor through its power-down line, then allocates the driver's memory and starts it.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already initialised
 *      - ESP_ERR_NO_MEM: no PSRAM, or an allocation failed; no resource stays allocated
 *      - ESP_ERR_NOT_SUPPORTED: no sensor answers, or its type is unknown
 *      - any other error of the driver; no resource stays allocated
 */
esp_err_t camera_controller_init(void);

/**
 * @brief Frees everything and powers the sensor down.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - any other error: everything is freed, but the sensor's power-down line could not be set
 */
esp_err_t camera_controller_deinit(void);

bool camera_controller_is_initialized(void);

/**
 * @brief Captures one frame, checks its markers, and returns it to the driver.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: out is NULL
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_TIMEOUT: no frame arrived within the driver's timeout of 4 s, or every frame that arrived
 *        within CONFIG_HOTPIN_CAMERA_FRAME_TIMEOUT_MS had begun before the call
 *      - ESP_ERR_INVALID_RESPONSE: a marker is missing or the size is wrong; *out has the details
 */
esp_err_t camera_controller_capture(camera_frame_info_t *out);

/**
 * @brief Sizes in bytes of the internal blocks that init allocates, for an admission check with
 * CAMERA_DMA_CAPS: the DMA buffer and the driver task's stack. Small objects (about 1 KB in total) are not
 * included.
 */
const size_t *camera_controller_blocks(size_t *count);

/**
 * @brief Sizes in bytes of the small blocks before the frame that the heap serves from PSRAM, for an
 * admission check with CAMERA_FRAME_CAPS. Without PSRAM they would come from internal memory, so the check is
 * cautious.
 */
const size_t *camera_controller_psram_blocks(size_t *count);

/** @brief Size in bytes of the free block that the heap needs for the aligned frame, for the same check. */
const size_t *camera_controller_frame_blocks(size_t *count);

#ifdef __cplusplus
}
#endif
