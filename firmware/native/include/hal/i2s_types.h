/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's hal/i2s_types.h: standard mode on the ESP32.
 */
#pragma once

#include "esp_bit_defs.h"
#include "soc/soc_caps.h"

typedef enum {
    I2S_SLOT_MODE_MONO = 1,
    I2S_SLOT_MODE_STEREO = 2,
} i2s_slot_mode_t;

typedef enum {
    I2S_DIR_RX = BIT(0),
    I2S_DIR_TX = BIT(1),
} i2s_dir_t;

typedef enum {
    I2S_ROLE_MASTER,
    I2S_ROLE_SLAVE,
} i2s_role_t;

typedef enum {
    I2S_DATA_BIT_WIDTH_8BIT = 8,
    I2S_DATA_BIT_WIDTH_16BIT = 16,
    I2S_DATA_BIT_WIDTH_24BIT = 24,
    I2S_DATA_BIT_WIDTH_32BIT = 32,
} i2s_data_bit_width_t;

typedef enum {
    I2S_SLOT_BIT_WIDTH_AUTO = 0,
    I2S_SLOT_BIT_WIDTH_8BIT = 8,
    I2S_SLOT_BIT_WIDTH_16BIT = 16,
    I2S_SLOT_BIT_WIDTH_24BIT = 24,
    I2S_SLOT_BIT_WIDTH_32BIT = 32,
} i2s_slot_bit_width_t;

typedef enum {
    I2S_CLK_SRC_DEFAULT = 0,
    I2S_CLK_SRC_PLL_160M = 0,
    I2S_CLK_SRC_APLL = 1,
} i2s_clock_src_t;

typedef enum {
    I2S_STD_SLOT_LEFT = BIT(0),
    I2S_STD_SLOT_RIGHT = BIT(1),
    I2S_STD_SLOT_BOTH = BIT(0) | BIT(1),
} i2s_std_slot_mask_t;
