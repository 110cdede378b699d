/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Markers and size of a JPEG frame. Pure: no IDF header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    bool soi;       /*!< starts with FF D8 FF */
    bool eoi;       /*!< ends with FF D9; zeros after it are ignored */
    uint32_t width; /*!< pixels, from the frame header; 0: no frame header found */
    uint32_t height;
} jpeg_markers_t;

jpeg_markers_t jpeg_find_markers(const uint8_t *data, size_t len);
