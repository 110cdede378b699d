/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: feeds any bytes as keys to the line editor and its completion, with log lines from other
 * tasks in between. Invariants are asserted here; the sanitizers detect memory errors and undefined
 * behaviour.
 */
#include <assert.h>
#include <string.h>

#include "array_size.h"
#include "console_complete.h"
#include "console_text.h"
#include "line_editor.h"

#define LOG_MARK 0x1c   /* this byte is not a key: another task logs */
#define QUICK_MARK 0x1d /* this byte is not a key: more input is waiting, so the screen is not updated */

bool console_caps_parse(const char *list, uint32_t *caps)
{
    *caps = 0;
    return *list != '\0';
}

static const console_row_t ROWS[] = {
    {"help", NULL},
    {"mem.stats", ""},
    {"mem.self", ""},
    {"mode.set", "to=camera|voice [wait=1]"},
    {"heap.hold", "caps=CAPS [size=N] [leave=N]"},
};

static bool row_at(size_t index, console_row_t *row)
{
    if (index >= ARRAY_SIZE(ROWS)) {
        return false;
    }
    *row = ROWS[index];
    return true;
}

static bool complete_line(const char *text, size_t length, size_t index, line_editor_word_t *word)
{
    bool found = console_complete(row_at, text, length, index, word);
    assert(!found || (word->typed <= word->length && word->typed <= length));
    return found;
}

/* No '@': no input is sent back as a record. */
static void write_screen(const char *text, size_t length)
{
    assert(length > 0 && memchr(text, '@', length) == NULL && memchr(text, '\0', length) == NULL);
}

static void write_text(const char *text, size_t length)
{
    static char s_last;
    for (size_t i = 0; i < length; i++) {
        s_last ^= text[i]; /* the sanitizer checks that each byte is readable */
    }
}

static const line_editor_io_t IO = {write_screen, complete_line};

static void check(const line_editor_t *editor)
{
    assert(editor->line.length <= CONSOLE_LINE_MAX && editor->history_used <= LINE_EDITOR_HISTORY_SIZE);
    if (!editor->is_raw) {
        assert(editor->cursor <= editor->line.length);
        assert(!editor->is_on_screen || editor->shown <= editor->line.length);
        assert(memchr(editor->line.bytes, '@', editor->line.length) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static line_editor_t s_editor;
    memset(&s_editor, 0, sizeof(s_editor));
    s_editor.io = &IO;
    bool is_quick = false;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == LOG_MARK) {
            const char *erased = line_editor_hide(&s_editor);
            assert(*erased != '\0' || !s_editor.is_on_screen);
            line_editor_show(&s_editor);
        } else if (data[i] == QUICK_MARK) {
            is_quick = !is_quick;
        } else if (line_editor_feed(&s_editor, (char)data[i])) {
            check(&s_editor);
            line_editor_next(&s_editor, s_editor.line.length > 0 && s_editor.line.bytes[0] == '@');
        } else if (!is_quick) {
            line_editor_refresh(&s_editor);
        }
        check(&s_editor);
    }
    console_text_from_members((const char *)data, size, size % 2 != 0, size % 3 == 0, write_text);
    return 0;
}
