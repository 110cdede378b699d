/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_text.h"

#include <stdbool.h>
#include <string.h>

/*
 * At depth 0 a member is `"key":value` and a ',' follows each but the last. Two quotes become one blank, the
 * ',' becomes CR LF: a member keeps its length, the last one needs a byte more. So the text is first moved to
 * the buffer's end, and what is written never overtakes what is read.
 */
size_t console_text_from_members(char *json, size_t length, size_t size)
{
    if (length == 0 || length >= size) {
        return 0;
    }
    const char *from = json + size - length;
    memmove(json + size - length, json, length);
    const char *end = json + size;
    char *to = json;
    int depth = 0;
    bool in_string = false;
    bool in_key = true;
    while (from < end) {
        char c = *from++;
        bool quote = c == '"';
        if (in_string && c == '\\' && from < end) {
            *to++ = c;
            *to++ = *from++;
            continue;
        }
        in_string ^= quote;
        if (!in_string && depth == 0 && to + 2 <= from) {
            if (c == ':' && in_key) {
                *to++ = ':';
                *to++ = ' ';
                in_key = false;
                continue;
            }
            if (c == ',') {
                *to++ = '\r';
                *to++ = '\n';
                in_key = true;
                continue;
            }
        }
        if (!in_string) {
            depth += c == '[' || c == '{';
            depth -= c == ']' || c == '}';
        }
        if (!(quote && in_key)) {
            *to++ = c;
        }
    }
    if (to + 2 <= json + size) {
        *to++ = '\r';
        *to++ = '\n';
    }
    return (size_t)(to - json);
}
