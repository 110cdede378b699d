/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Record of the data that an I2S port has sent.
 */
#pragma once

#include <stdint.h>
#include "driver/i2s_types.h"

typedef struct {
    uint64_t frames;   /* frames sent since the process started, including silence */
    uint64_t sounding; /* frames with a non-zero sample */
    uint32_t crc32;    /* CRC over the samples of those frames */
} native_i2s_line_t;

native_i2s_line_t native_i2s_line(i2s_port_t port);
