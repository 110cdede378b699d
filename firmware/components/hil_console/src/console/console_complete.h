/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tab completion: commands, argument keys, and the words of a value. Pure.
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
    const char *usage; /*!< see console_check_args(); NULL: takes the name of a command */
} console_row_t;

/** The `index`-th command. @return false: there are no more */
typedef bool (*console_row_at_t)(size_t index, console_row_t *row);

/** The `index`-th completion of these `length` characters. @return false: there are no more */
bool console_complete(console_row_at_t row_at, const char *text, size_t length, size_t index,
                      line_editor_word_t *word);

#ifdef __cplusplus
}
#endif
