/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "telemetry_crc.h"

uint16_t telemetry_crc16(uint16_t crc, const void *data, size_t len)
{
    /* Remainders of the sixteen nibbles: two steps per byte, but a table of only 32 bytes. */
    static const uint16_t table[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
        0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
    };
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)((crc << 4) ^ table[(crc >> 12) ^ (bytes[i] >> 4)]);
        crc = (uint16_t)((crc << 4) ^ table[(crc >> 12) ^ (bytes[i] & 0xF)]);
    }
    return crc;
}
