/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tab completion: commands, argument keys, and the words of a value. Pure: no IDF header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "line_editor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *name;
    const char *usage; /*!< see console_check_args(); NULL: the argument is the name of a command */
} console_row_t;

/** Gets the `index`-th command. @return false after the last */
typedef bool (*console_row_at_t)(size_t index, console_row_t *row);

/** Gets the `index`-th completion of `text`, which has `length` characters. @return false after the last */
bool console_complete(console_row_at_t row_at, const char *text, size_t length, size_t index,
                      line_editor_word_t *word);

#ifdef __cplusplus
}
#endif
