/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of esp32-camera's sensor.h: formats, sizes, and the sensor's identity.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    OV2640_PID = 0x26,
    OV3660_PID = 0x3660,
} camera_pid_t;

typedef enum {
    PIXFORMAT_RGB565,
    PIXFORMAT_YUV422,
    PIXFORMAT_YUV420,
    PIXFORMAT_GRAYSCALE,
    PIXFORMAT_JPEG,
    PIXFORMAT_RGB888,
    PIXFORMAT_RAW,
    PIXFORMAT_RGB444,
    PIXFORMAT_RGB555,
} pixformat_t;

typedef enum {
    FRAMESIZE_96X96,
    FRAMESIZE_QQVGA,
    FRAMESIZE_128X128,
    FRAMESIZE_QCIF,
    FRAMESIZE_HQVGA,
    FRAMESIZE_240X240,
    FRAMESIZE_QVGA,
    FRAMESIZE_320X320,
    FRAMESIZE_CIF,
    FRAMESIZE_HVGA,
    FRAMESIZE_VGA,
    FRAMESIZE_SVGA,
} framesize_t;

typedef struct {
    uint8_t MIDH;
    uint8_t MIDL;
    uint16_t PID;
    uint8_t VER;
} sensor_id_t;

typedef struct {
    sensor_id_t id;
    uint8_t slv_addr;
    pixformat_t pixformat;
    int xclk_freq_hz;
} sensor_t;
