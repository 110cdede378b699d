/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF, not reflected; "123456789" gives 0x29B1). Pure: no IDF
 * header.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TELEMETRY_CRC_START 0xFFFFU

/** Returns crc, continued over len more bytes. Start with TELEMETRY_CRC_START. */
uint16_t telemetry_crc16(uint16_t crc, const void *data, size_t len);

#ifdef __cplusplus
}
#endif
