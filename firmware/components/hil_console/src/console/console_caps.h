/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Capability sets by name: the names of MALLOC_CAP_* without the prefix, comma-separated ("DMA,8BIT").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Writes the union of the listed capabilities to `caps`. @return false if a word is not a capability */
bool console_caps_parse(const char *list, uint32_t *caps);

/** Writes the names of the known bits of `caps`, truncated to fit; always NUL-terminated. @return `text` */
const char *console_caps_format(uint32_t caps, char *text, size_t size);

/** @return the `index`-th known capability bit; 0 after the last */
uint32_t console_caps_bit(size_t index);

#ifdef __cplusplus
}
#endif
