/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * JPEG (ISO 10918-1, annex B): SOI is followed by segments FF xx with a two-byte length that includes
 * itself. A frame header (SOF) holds precision, height and width; parsing ends at the scan (SOS).
 */
#include "jpeg_markers.h"

#define MARKER 0xFF
#define SOI 0xD8
#define EOI 0xD9
#define SOS 0xDA

static uint32_t word_at(const uint8_t *data)
{
    return (uint32_t)data[0] << 8 | data[1];
}

/** SOF0 to SOF15, without DHT, JPG and DAC, which have codes in that range. */
static bool is_frame_header(uint8_t code)
{
    return code >= 0xC0 && code <= 0xCF && code != 0xC4 && code != 0xC8 && code != 0xCC;
}

static void find_size(const uint8_t *data, size_t len, jpeg_markers_t *found)
{
    size_t at = 2;
    while (len - at >= 4 && data[at] == MARKER && data[at + 1] != SOS) {
        uint32_t segment = word_at(data + at + 2);
        if (segment < 2 || segment > len - at - 2) {
            return;
        }
        if (is_frame_header(data[at + 1]) && segment >= 7) {
            found->height = word_at(data + at + 5);
            found->width = word_at(data + at + 7);
            return;
        }
        at += 2 + segment;
    }
}

jpeg_markers_t jpeg_find_markers(const uint8_t *data, size_t len)
{
    jpeg_markers_t found = {0};
    found.soi = len >= 3 && data[0] == MARKER && data[1] == SOI && data[2] == MARKER;
    if (found.soi) {
        find_size(data, len, &found);
    }
    while (len > 0 && data[len - 1] == 0) {
        len--;
    }
    found.eoi = len >= 2 && data[len - 2] == MARKER && data[len - 1] == EOI;
    return found;
}
