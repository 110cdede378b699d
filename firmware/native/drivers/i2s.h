/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Record of the data on an I2S port's lines.
 */
#pragma once

#include <stdint.h>
#include "driver/i2s_types.h"

typedef struct {
    uint64_t frames;   /* sent since the process started, silence included */
    uint64_t sounding; /* frames with a non-zero sample */
    uint32_t crc32;    /* over their samples */
} native_i2s_line_t;

native_i2s_line_t native_i2s_line(i2s_port_t port);
