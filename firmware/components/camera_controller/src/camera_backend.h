/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Backend of the camera controller: esp32-camera, or a simulation that allocates the same memory. The caller,
 * camera_controller.c, has checked the state.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

/* esp32-camera in JPEG mode on the ESP32 allocates one DMA buffer of eight "half buffers" of 4,096 bytes
 * each, and width * height / 5 bytes for a frame. */
#define CAMERA_DMA_BUFFER_BYTES 32768u
#define CAMERA_WIDTH 640u
#define CAMERA_HEIGHT 480u
#define CAMERA_FRAME_BYTES (CAMERA_WIDTH * CAMERA_HEIGHT / 5)
#define CAMERA_FRAME_ALIGNMENT 16u
/* Smaller blocks for which the heap also chooses PSRAM: the sensor's bus, and the frame's descriptor. */
#define CAMERA_BUS_BYTES 1280u
#define CAMERA_BUS_DEVICE_BYTES 24u
#define CAMERA_DESCRIPTOR_BYTES 56u
#define CAMERA_DESCRIPTOR_ALIGNMENT 8u
/* Free block that the heap needs for an aligned one: TLSF looks for room for the alignment, and for a block
 * of 16 bytes, the smallest, before it. */
#define CAMERA_ALIGNED_NEED(size, alignment) ((size) + (alignment) + 16u)

typedef struct {
    const uint8_t *data;
    size_t len;
    uint32_t width;
    uint32_t height;
    int64_t taken_us; /*!< esp_timer time of the frame's first line */
    void *handle;     /*!< private to the backend */
} camera_backend_frame_t;

/** Powers the sensor up and resets it through its power-down line. */
esp_err_t camera_backend_power_up(void);
esp_err_t camera_backend_power_down(void);
/** Allocates all memory and starts the driver. After an error, no resource stays allocated. */
esp_err_t camera_backend_open(void);
void camera_backend_close(void);
/** Gets a frame, which must be returned with camera_backend_give(). ESP_ERR_TIMEOUT: no frame arrived. */
esp_err_t camera_backend_take(camera_backend_frame_t *frame);
void camera_backend_give(camera_backend_frame_t *frame);
