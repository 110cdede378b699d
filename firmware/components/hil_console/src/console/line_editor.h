/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Line editor for typed commands: turns keys into screen output and an edited line. Call all functions with
 * the stdout lock held.
 *
 * Pure: no IDF header, no allocation, no static state. Keys and screen behave as in linenoise, the editor of
 * ESP-IDF's REPL. Reasons not to use linenoise itself (components/console of v5.4 and v5.5):
 * - It allocates from the heap under test for each line, redraw, history entry and completion; esp_console
 *   allocates for each command, argtable3 for each argument.
 * - Before each line it reads up to 31 bytes as the terminal's cursor position, so a request is lost.
 * - It echoes requests, and shows its prompt at boot.
 * - It blocks inside read(), with the line in local variables, so another task cannot hide the line before it
 *   logs and show it again afterwards.
 * - It writes through stdout, which takes 32 bytes of the driver's ring for each character.
 * - It treats keys that follow each other within 30 ms as pasted: control keys end up in the line, and
 *   characters inside the line are lost.
 * Argtable3 parses options (--size 4), but this console's arguments are key=value.
 *
 * A request (an '@' and everything after it up to the newline) is never edited, echoed or kept in the
 * history. Screen output contains no '@', so it cannot be mistaken for a record.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "console_parser.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LINE_EDITOR_PROMPT "hotpin> "
#define LINE_EDITOR_COLUMNS 80       /*!< minimum width of the terminal; a longer line scrolls sideways */
#define LINE_EDITOR_HISTORY_SIZE 512 /*!< bytes of earlier lines, each with its terminator */

/** A completion at the cursor. */
typedef struct {
    const char *text;
    size_t length;
    size_t typed; /*!< number of its characters that are already before the cursor */
    char end;     /*!< character to add after the whole word: ' ' or '=' */
} line_editor_word_t;

typedef struct {
    void (*write)(const char *text, size_t length); /*!< to the screen */
    /** Gets the `index`-th completion of `text`. @return false after the last */
    bool (*complete)(const char *text, size_t length, size_t index, line_editor_word_t *word);
} line_editor_io_t;

/** Zero-initialise all but `io`. */
typedef struct {
    const line_editor_io_t *io;
    console_line_t line; /*!< complete when line_editor_feed() has returned true */
    size_t cursor;
    bool is_open;      /*!< interactive: the prompt is shown */
    bool is_on_screen; /*!< prompt and line are on the screen's last row */
    bool is_raw;       /*!< an '@' was received: the rest of the line is neither edited nor shown */
    bool is_taken;     /*!< the line is being executed: show nothing until line_editor_next() */
    bool has_escapes;  /*!< the terminal supports escape sequences: it has answered ESC [5n */
    bool has_moved;    /*!< the cursor has moved since the last refresh */
    bool after_cr;
    uint8_t escape; /*!< state within an escape sequence */
    uint16_t parameter;
    size_t shown; /*!< number of leading characters that are correct on the screen */
    size_t stale; /*!< number of characters after them to erase from the screen */
    char history[LINE_EDITOR_HISTORY_SIZE]; /*!< strings, oldest first */
    size_t history_used;
    size_t history_at; /*!< age of the recalled line; 1: the edited line; 0: no line is recalled */
} line_editor_t;

/**
 * @brief Handles one received byte.
 * @return true when the byte ended a line: execute `line`, then call line_editor_next()
 */
bool line_editor_feed(line_editor_t *editor, char byte);

/** Updates the screen. Call it when no more input is pending, so that pasted text is not redrawn for every
 * character. */
void line_editor_refresh(line_editor_t *editor);

/**
 * @brief Starts the next line, with a prompt in interactive use.
 * @param by_program the last line was a program's request: show no prompt until the next key
 */
void line_editor_next(line_editor_t *editor, bool by_program);

/** Hides prompt and line before other output. @return the text that hides them; "" if nothing is shown */
const char *line_editor_hide(line_editor_t *editor);

/** Shows prompt and line again below other output. */
void line_editor_show(line_editor_t *editor);

#ifdef __cplusplus
}
#endif
