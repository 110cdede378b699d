/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's driver/i2s_types.h (esp_driver_i2s).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "soc/soc_caps.h"

typedef enum {
    I2S_NUM_0 = 0,
    I2S_NUM_1 = 1,
    I2S_NUM_AUTO,
} i2s_port_t;

typedef enum {
    I2S_COMM_MODE_STD,
    I2S_COMM_MODE_PDM,
    I2S_COMM_MODE_NONE,
} i2s_comm_mode_t;

typedef enum {
    I2S_MCLK_MULTIPLE_128 = 128,
    I2S_MCLK_MULTIPLE_256 = 256,
    I2S_MCLK_MULTIPLE_384 = 384,
    I2S_MCLK_MULTIPLE_512 = 512,
} i2s_mclk_multiple_t;

typedef struct i2s_channel_obj_t *i2s_chan_handle_t;
