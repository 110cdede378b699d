/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Members of a reply as readable lines. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * @brief Writes `"key":value,"key":value` as lines that end in CR LF:
 *
 *     key: value                     number, true, text without its quotes
 *     key: a, b, c                   array of such values; "none" if it is empty
 *     key:                           object: a line each for its members;
 *       key: value                   array of objects or arrays: a line each for these,
 *       key=value, key=value         with their members as key=value
 *
 * Takes any text: the output for invalid JSON is unspecified, but nothing is read beyond the text.
 * @param json the members, without the outer braces
 * @param continues the first member is the rest of the container that ended the text before: without its key
 * @param goes_on the last member is a container that continues in the next text
 */
void console_text_from_members(const char *json, size_t length, bool continues, bool goes_on,
                               void (*write)(const char *text, size_t length));
