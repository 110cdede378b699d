/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "number_format.h"

size_t number_u32(char *out, uint32_t value)
{
    char reversed[10]; /* 4294967295 */
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++) {
        out[i] = reversed[count - 1 - i];
    }
    out[count] = '\0';
    return count;
}

size_t number_i32(char *out, int32_t value, bool plus)
{
    if (value < 0) {
        *out = '-';
        return 1 + number_u32(out + 1, 0U - (uint32_t)value); /* also correct for INT32_MIN */
    }
    if (plus) {
        *out = '+';
        return 1 + number_u32(out + 1, (uint32_t)value);
    }
    return number_u32(out, (uint32_t)value);
}

size_t number_hex(char *out, uint32_t value, unsigned digits, bool upper_case)
{
    const char *alphabet = upper_case ? "0123456789ABCDEF" : "0123456789abcdef";
    for (unsigned i = digits; i > 0; i--) {
        out[i - 1] = alphabet[value & 0xF];
        value >>= 4;
    }
    out[digits] = '\0';
    return digits;
}
