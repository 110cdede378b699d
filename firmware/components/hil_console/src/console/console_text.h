/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Members of a reply as readable lines. Pure: no IDF header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * @brief Writes `"key":value,"key":value` as lines that end in CR LF:
 *
 *     key: value                     number, true, text without its quotes
 *     key: a, b, c                   array of such values; "none" if it is empty
 *     key:                           object: one line per member
 *       key: value
 *     key:                           array of objects or arrays: one line per element,
 *       key=value, key=value         with its members as key=value
 *
 * Any text is allowed: the output for invalid JSON is unspecified, but no byte beyond the text is read.
 * @param json the members, without the outer braces
 * @param continues the first member continues the container that ended the previous text; omit its key
 * @param unfinished the last member is a container that continues in the next text
 */
void console_text_from_members(const char *json, size_t length, bool continues, bool unfinished,
                               void (*write)(const char *text, size_t length));
