/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Converts integers to text without printf, because printf needs too much stack for a 2 KB task. Pure: no IDF
 * header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NUMBER_TEXT_SIZE 12 //!< Bytes of "-2147483648" and the terminator

/*
 * Each writes the digits and a terminator to out (NUMBER_TEXT_SIZE bytes) and returns the number of
 * characters.
 */

size_t number_u32(char *out, uint32_t value);
/** plus: also write the sign of a positive value. */
size_t number_i32(char *out, int32_t value, bool plus);
/** Writes exactly `digits` hex digits (1 to 8); higher digits of value are dropped. */
size_t number_hex(char *out, uint32_t value, unsigned digits, bool upper_case);

#ifdef __cplusplus
}
#endif
