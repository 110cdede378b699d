/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "line_editor.h"

#include <string.h>

#include "array_size.h"

#define PROMPT_LENGTH (sizeof(LINE_EDITOR_PROMPT) - 1)
/* The last column stays free: a full row would wrap. */
#define ROOM (LINE_EDITOR_COLUMNS - 1 - PROMPT_LENGTH)

#define CTRL(letter) ((letter) - '@')
#define ESC 0x1b
#define DELETE 0x7f

/* Until the terminal answers ESC [5n, send it plain text only: programs and dumb terminals do not answer. */
#define GREETING \
    "HotPin test console: help lists the commands, Tab completes, Up and Down recall.\r\n" ASK_TERMINAL
#define ASK_TERMINAL "\x1b[5n"
#define ERASE_ROW "\r\x1b[K"

enum { NO_ESCAPE, AFTER_ESC, IN_CSI, AFTER_SS3 };

/* --- Screen --- */

static void put(const line_editor_t *editor, const char *text, size_t length)
{
    if (length > 0) {
        editor->io->write(text, length);
    }
}

static void put_text(const line_editor_t *editor, const char *text)
{
    put(editor, text, strlen(text));
}

/** Marks the line as changed from `at` on. */
static void changed(line_editor_t *editor, size_t at)
{
    if (editor->shown > at) {
        editor->stale += editor->shown - at;
        editor->shown = at;
    }
}

static void redraw(line_editor_t *editor)
{
    const console_line_t *line = &editor->line;
    size_t from = editor->cursor > ROOM ? editor->cursor - ROOM : 0;
    size_t length = line->length - from < ROOM ? line->length - from : ROOM;
    put_text(editor, "\r" LINE_EDITOR_PROMPT);
    put(editor, line->bytes + from, length);
    put_text(editor, "\x1b[K");
    if (editor->cursor - from < length) {
        size_t column = PROMPT_LENGTH + editor->cursor - from;
        const char move[] = {'\r', ESC, '[', (char)('0' + column / 10), (char)('0' + column % 10), 'C'};
        _Static_assert(LINE_EDITOR_COLUMNS <= 99, "a column has two digits");
        put(editor, move, sizeof(move));
    }
    editor->shown = line->length;
}

void line_editor_refresh(line_editor_t *editor)
{
    const console_line_t *line = &editor->line;
    if (!editor->is_on_screen || editor->is_raw) {
        return;
    }
    bool is_right = editor->stale == 0 && !editor->has_moved;
    if (is_right && editor->shown == line->length) {
        return;
    }
    bool is_appended = is_right && editor->cursor == line->length && line->length <= ROOM;
    if (editor->has_escapes && !is_appended) {
        redraw(editor);
    } else {
        for (; editor->stale > 0; editor->stale--) {
            put_text(editor, "\b \b");
        }
        put(editor, line->bytes + editor->shown, line->length - editor->shown);
        editor->shown = line->length;
    }
    editor->stale = 0;
    editor->has_moved = false;
}

const char *line_editor_hide(line_editor_t *editor)
{
    if (!editor->is_on_screen) {
        return "";
    }
    editor->is_on_screen = false;
    return editor->has_escapes ? ERASE_ROW : "\r\n";
}

void line_editor_show(line_editor_t *editor)
{
    if (!editor->is_open || editor->is_on_screen || editor->is_raw || editor->is_taken) {
        return;
    }
    put_text(editor, LINE_EDITOR_PROMPT);
    editor->is_on_screen = true;
    editor->shown = 0;
    editor->stale = 0;
    editor->has_moved = editor->cursor < editor->line.length;
    line_editor_refresh(editor);
}

static void open_session(line_editor_t *editor)
{
    if (!editor->is_open) {
        editor->is_open = true;
        put_text(editor, GREETING);
        line_editor_show(editor);
    }
}

/** Goes to the next row. */
static void leave_row(line_editor_t *editor, const char *text)
{
    if (editor->is_on_screen) {
        put_text(editor, text);
        editor->is_on_screen = false;
    }
}

/* --- Editing --- */

static void move_to(line_editor_t *editor, size_t cursor)
{
    if (editor->has_escapes && cursor <= editor->line.length) {
        editor->has_moved |= cursor != editor->cursor;
        editor->cursor = cursor;
    }
}

static void insert(line_editor_t *editor, const char *text, size_t length)
{
    console_line_t *line = &editor->line;
    if (length > CONSOLE_LINE_MAX - line->length) {
        line->overlong = true; /* so that the truncated line is not executed */
        return;
    }
    char *at = line->bytes + editor->cursor;
    memmove(at + length, at, line->length - editor->cursor);
    memcpy(at, text, length);
    changed(editor, editor->cursor);
    line->length += length;
    editor->cursor += length;
}

static void erase(line_editor_t *editor, size_t from, size_t to)
{
    console_line_t *line = &editor->line;
    if (from < to) {
        memmove(line->bytes + from, line->bytes + to, line->length - to);
        line->length -= to - from;
        line->overlong = false; /* after an erasure, the line may be executed */
        editor->cursor = from;
        changed(editor, from);
    }
}

static size_t start_of_word(const line_editor_t *editor)
{
    size_t at = editor->cursor;
    while (at > 0 && editor->line.bytes[at - 1] == ' ') {
        at--;
    }
    while (at > 0 && editor->line.bytes[at - 1] != ' ') {
        at--;
    }
    return at;
}

static void swap_characters(line_editor_t *editor)
{
    char *at = editor->line.bytes + editor->cursor;
    if (editor->cursor > 0 && editor->cursor < editor->line.length) {
        char before = at[-1];
        at[-1] = at[0];
        at[0] = before;
        move_to(editor, editor->cursor + 1); /* also redraws the line */
    }
}

/* --- History --- */

/** The `age`-th newest line, 1 for the newest; NULL if there are fewer. */
static const char *history_line(const line_editor_t *editor, size_t age)
{
    size_t at = editor->history_used;
    for (; age > 0; age--) {
        if (at == 0) {
            return NULL;
        }
        at--;
        while (at > 0 && editor->history[at - 1] != '\0') {
            at--;
        }
    }
    return editor->history + at;
}

static void history_push(line_editor_t *editor)
{
    _Static_assert(LINE_EDITOR_HISTORY_SIZE > CONSOLE_LINE_MAX, "any line fits");
    size_t length = editor->line.length;
    while (editor->history_used + length + 1 > LINE_EDITOR_HISTORY_SIZE) {
        size_t oldest = strlen(editor->history) + 1;
        editor->history_used -= oldest;
        memmove(editor->history, editor->history + oldest, editor->history_used);
    }
    char *to = editor->history + editor->history_used;
    memcpy(to, editor->line.bytes, length);
    to[length] = '\0';
    editor->history_used += length + 1;
}

static void history_pop(line_editor_t *editor)
{
    editor->history_used = (size_t)(history_line(editor, 1) - editor->history);
}

/** Ends the recall of earlier lines: drops the newest entry, which is the edited line. */
static void history_leave(line_editor_t *editor)
{
    if (editor->history_at > 0) {
        history_pop(editor);
        editor->history_at = 0;
    }
}

static void history_add(line_editor_t *editor)
{
    const console_line_t *line = &editor->line;
    const char *newest = history_line(editor, 1);
    bool is_repeated =
        newest != NULL && strlen(newest) == line->length && memcmp(newest, line->bytes, line->length) == 0;
    if (line->length > 0 && !is_repeated) {
        history_push(editor);
    }
}

static void recall(line_editor_t *editor, bool older)
{
    if (editor->history_at == 0) {
        if (!older || editor->history_used == 0) {
            return;
        }
        history_push(editor);
        editor->history_at = 1;
    }
    size_t age = older ? editor->history_at + 1 : editor->history_at - 1;
    const char *text = age > 0 ? history_line(editor, age) : NULL;
    if (text == NULL) {
        return;
    }
    erase(editor, 0, editor->line.length);
    insert(editor, text, strlen(text));
    editor->history_at = age;
    if (age == 1) {
        history_leave(editor);
    }
}

/* --- Completion --- */

static void list_words(line_editor_t *editor, size_t cursor)
{
    line_editor_word_t word;
    size_t column = 0;
    line_editor_refresh(editor);
    leave_row(editor, "\r\n");
    for (size_t i = 0; editor->io->complete(editor->line.bytes, cursor, i, &word); i++) {
        if (column > 0 && column + 2 + word.length > LINE_EDITOR_COLUMNS - 1) {
            put_text(editor, "\r\n");
            column = 0;
        } else if (column > 0) {
            put_text(editor, "  ");
            column += 2;
        }
        put(editor, word.text, word.length);
        column += word.length;
    }
    put_text(editor, "\r\n");
    line_editor_show(editor);
}

/**
 * Inserts the common prefix of all completions. If there are several without a common prefix, lists them;
 * linenoise cycles through them instead, which hides the choice among 60 commands.
 */
static void complete(line_editor_t *editor)
{
    const char *text = editor->line.bytes;
    size_t cursor = editor->cursor;
    line_editor_word_t first, word;
    if (!editor->io->complete(text, cursor, 0, &first)) {
        put_text(editor, editor->has_escapes ? "\a" : "");
        return;
    }
    size_t common = first.length;
    size_t count = 1;
    for (; editor->io->complete(text, cursor, count, &word); count++) {
        size_t same = 0;
        while (same < common && same < word.length && word.text[same] == first.text[same]) {
            same++;
        }
        common = same;
    }
    if (count > 1 && common <= first.typed) {
        list_words(editor, cursor);
        return;
    }
    if (common > first.typed) {
        insert(editor, first.text + first.typed, common - first.typed);
    }
    if (count == 1 && (editor->cursor == editor->line.length || text[editor->cursor] != first.end)) {
        insert(editor, &first.end, 1);
    }
}

/* --- Keys --- */

static void cancel(line_editor_t *editor)
{
    line_editor_refresh(editor);
    leave_row(editor, "^C\r\n");
    line_editor_next(editor, false);
}

static void clear_screen(line_editor_t *editor)
{
    if (editor->has_escapes) {
        put_text(editor, "\x1b[H\x1b[2J");
        editor->is_on_screen = false;
        line_editor_show(editor);
    }
}

/** True if the key is printable or has a function, so that the prompt must be visible. */
static bool is_key(char byte)
{
    static const char KEYS[] = {CTRL('A'), CTRL('B'), CTRL('C'), CTRL('D'), CTRL('E'), CTRL('F'),
                                CTRL('H'), CTRL('I'), CTRL('K'), CTRL('L'), CTRL('N'), CTRL('P'),
                                CTRL('T'), CTRL('U'), CTRL('W'), DELETE};
    return (byte >= ' ' && byte < DELETE) || memchr(KEYS, byte, sizeof(KEYS)) != NULL;
}

static void press(line_editor_t *editor, char key)
{
    size_t cursor = editor->cursor;
    size_t length = editor->line.length;
    if (!is_key(key)) {
        return; /* noise, or a non-ASCII character: no command contains one */
    }
    open_session(editor);
    switch (key) {
    case CTRL('A'): move_to(editor, 0); break;
    case CTRL('B'): move_to(editor, cursor - (cursor > 0)); break;
    case CTRL('C'): cancel(editor); break;
    case CTRL('D'): erase(editor, cursor, cursor + (cursor < length)); break;
    case CTRL('E'): move_to(editor, length); break;
    case CTRL('F'): move_to(editor, cursor + 1); break;
    case CTRL('H'):
    case DELETE: erase(editor, cursor - (cursor > 0), cursor); break;
    case CTRL('I'): complete(editor); break;
    case CTRL('K'): erase(editor, cursor, length); break;
    case CTRL('L'): clear_screen(editor); break;
    case CTRL('N'): recall(editor, false); break;
    case CTRL('P'): recall(editor, true); break;
    case CTRL('T'): swap_characters(editor); break;
    case CTRL('U'): erase(editor, 0, length); break;
    case CTRL('W'): erase(editor, start_of_word(editor), cursor); break;
    default: insert(editor, &key, 1); break;
    }
}

/** Handles ESC [ `final` and ESC O `final`: maps cursor keys to the equivalent control keys. */
static void press_cursor_key(line_editor_t *editor, char final)
{
    static const char KEYS[][2] = {
        {'A', CTRL('P')}, {'B', CTRL('N')}, {'C', CTRL('F')},
        {'D', CTRL('B')}, {'H', CTRL('A')}, {'F', CTRL('E')},
    };
    for (size_t i = 0; i < ARRAY_SIZE(KEYS); i++) {
        if (KEYS[i][0] == final) {
            press(editor, KEYS[i][1]);
        }
    }
}

/** Handles ESC [ `parameter` ~ */
static void press_numbered_key(line_editor_t *editor)
{
    switch (editor->parameter) {
    case 1:
    case 7: press(editor, CTRL('A')); break;
    case 3: press(editor, CTRL('D')); break;
    case 4:
    case 8: press(editor, CTRL('E')); break;
    default: break;
    }
}

static void take_csi(line_editor_t *editor, char byte)
{
    if (byte >= '0' && byte <= '9') {
        editor->parameter = (uint16_t)((editor->parameter * 10 + (byte - '0')) % 1000);
    } else if (byte >= 0x40 && byte < DELETE) {
        editor->escape = NO_ESCAPE;
        if (byte == '~') {
            press_numbered_key(editor);
        } else if (byte == 'n') {
            editor->has_escapes |= editor->is_open; /* the answer to ASK_TERMINAL */
        } else {
            press_cursor_key(editor, byte);
        }
    } else if (byte < ' ' || byte >= DELETE) {
        editor->escape = NO_ESCAPE; /* never part of a sequence */
    }
}

static void take_escape(line_editor_t *editor, char byte)
{
    uint8_t state = editor->escape;
    if (state == IN_CSI) {
        take_csi(editor, byte);
        return;
    }
    editor->escape = NO_ESCAPE;
    if (state == AFTER_SS3) {
        press_cursor_key(editor, byte);
    } else if (byte == '[') {
        editor->escape = IN_CSI;
        editor->parameter = 0;
    } else if (byte == 'O') {
        editor->escape = AFTER_SS3;
    }
}

/* --- Lines --- */

/** Handles a byte of a request: the '@' and everything after it. The text before the '@' is discarded. */
static void take_raw(line_editor_t *editor, char byte)
{
    console_line_t *line = &editor->line;
    history_leave(editor);
    if (line->length == CONSOLE_LINE_MAX && line->bytes[0] != '@') {
        char *request = memchr(line->bytes, '@', line->length);
        size_t useless = request != NULL ? (size_t)(request - line->bytes) : line->length;
        line->length -= useless;
        memmove(line->bytes, line->bytes + useless, line->length);
    }
    console_line_feed(line, byte);
}

static bool end_line(line_editor_t *editor)
{
    if (!editor->is_raw) {
        if (!editor->is_open) {
            open_session(editor);
            return false;
        }
        history_leave(editor);
        move_to(editor, editor->line.length);
        line_editor_refresh(editor);
        history_add(editor);
    }
    leave_row(editor, "\r\n");
    editor->is_taken = true;
    return true;
}

bool line_editor_feed(line_editor_t *editor, char byte)
{
    bool is_second_end = byte == '\n' && editor->after_cr;
    editor->after_cr = byte == '\r';
    if (is_second_end) {
        return false;
    }
    if (byte == '\r' || byte == '\n') {
        editor->escape = NO_ESCAPE;
        return end_line(editor);
    }
    if (editor->is_raw || byte == '@') {
        line_editor_refresh(editor);
        editor->is_raw = true;
        take_raw(editor, byte);
    } else if (editor->escape != NO_ESCAPE) {
        take_escape(editor, byte);
    } else if (byte == ESC) {
        editor->escape = AFTER_ESC;
    } else {
        press(editor, byte);
    }
    return false;
}

void line_editor_next(line_editor_t *editor, bool by_program)
{
    history_leave(editor);
    console_line_reset(&editor->line);
    editor->cursor = 0;
    editor->is_raw = false;
    editor->is_taken = false;
    if (by_program) {
        editor->is_open = false;
        editor->has_escapes = false;
    }
    line_editor_show(editor);
}
