/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Line editor for typed commands: keys in; screen output and edited line out. Under the stdout lock only.
 *
 * Pure: no IDF header, no allocation, no static state. Keys and screen are those of linenoise, the editor of
 * ESP-IDF's REPL. Reasons against linenoise itself (components/console of v5.4 and v5.5):
 * - It allocates from the heap that is measured here: each line, each redraw, each history entry, each
 *   completion; esp_console allocates each command, argtable3 each argument.
 * - It reads up to 31 bytes before each line as the terminal's cursor position: a request is lost.
 * - It echoes requests, and shows its prompt from boot on.
 * - It waits inside read(), with the line in its locals: another task cannot take the line off the screen
 *   before it logs, and put it back.
 * - It writes through stdout, which takes 32 bytes of the driver's ring for each character.
 * - It treats keys that follow each other within 30 ms as pasted: control keys end up in the line, and
 *   characters inside the line are lost.
 * Argtable3 parses options (--size 4); this console takes key=value.
 *
 * A request (an '@' and everything after it up to the line end) is never edited, echoed or kept: screen
 * output contains no '@', so that no input is sent back as a record.
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
#define LINE_EDITOR_COLUMNS 80       /*!< of the terminal, at least; a longer line scrolls sideways */
#define LINE_EDITOR_HISTORY_SIZE 512 /*!< bytes of earlier lines, each with its end */

/** A completion at the cursor. */
typedef struct {
    const char *text;
    size_t length;
    size_t typed; /*!< number of its characters that are before the cursor already */
    char end;     /*!< follows the whole word: ' ' or '=' */
} line_editor_word_t;

typedef struct {
    void (*write)(const char *text, size_t length); /*!< to the screen */
    /** The `index`-th completion of these characters. @return false: there are no more */
    bool (*complete)(const char *text, size_t length, size_t index, line_editor_word_t *word);
} line_editor_io_t;

/** Zero-initialise all but `io`. */
typedef struct {
    const line_editor_io_t *io;
    console_line_t line; /*!< to be read after line_editor_feed() has returned true */
    size_t cursor;
    bool is_open;      /*!< interactive: the prompt is shown */
    bool is_on_screen; /*!< prompt and line are on the screen's last row */
    bool is_raw;       /*!< an '@' has come: the rest of the line is neither edited nor shown */
    bool is_taken;     /*!< the line is being executed: nothing to show until line_editor_next() */
    bool has_escapes;  /*!< the terminal has answered: it supports escape sequences */
    bool has_moved;    /*!< the cursor, since the last refresh */
    bool after_cr;
    uint8_t escape; /*!< state within an escape sequence */
    uint16_t parameter;
    size_t shown;                           /*!< characters of the line that are right on the screen, */
    size_t stale;                           /*!< and the number after them to be erased */
    char history[LINE_EDITOR_HISTORY_SIZE]; /*!< strings, oldest first */
    size_t history_used;
    size_t history_at; /*!< 0: none is shown; otherwise counts from the newest, which is the line edited
                          before */
} line_editor_t;

/**
 * @brief Takes one byte from the wire.
 * @return true when it ended a line: execute `line`, then call line_editor_next()
 */
bool line_editor_feed(line_editor_t *editor, char byte);

/** Updates the screen. To be called when no more input is pending, so that pasted text is not redrawn at each
 * key.
 */
void line_editor_refresh(line_editor_t *editor);

/**
 * @brief Starts the next line, with a prompt in interactive use.
 * @param by_program the line was a program's request: no prompt until the next key
 */
void line_editor_next(line_editor_t *editor, bool by_program);

/** Takes prompt and line off the screen, for other output. @return the text to write for that, "" for none */
const char *line_editor_hide(line_editor_t *editor);

/** Puts prompt and line back below other output. */
void line_editor_show(line_editor_t *editor);

#ifdef __cplusplus
}
#endif
