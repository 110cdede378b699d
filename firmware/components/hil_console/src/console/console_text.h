/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A reply's members as lines for people. Pure.
 */
#pragma once

#include <stddef.h>

/**
 * @brief Turns `"key":value,"key":value` into `key: value` lines ending in CR LF, in place.
 *
 * Nested arrays and objects stay as they are, on one line. The text needs at most one byte more than before.
 * @param json the members, without the outer braces
 * @param size of the buffer, at least length + 1
 * @return the new length
 */
size_t console_text_from_members(char *json, size_t length, size_t size);
