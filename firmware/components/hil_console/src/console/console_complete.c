/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_complete.h"

#include <string.h>

/** A range of the line. */
typedef struct {
    const char *text;
    size_t length;
} piece_t;

static bool starts_with(const char *text, size_t length, piece_t start)
{
    return length >= start.length && memcmp(text, start.text, start.length) == 0;
}

/** Removes the line's last word, which is being typed and may be empty. @return that word */
static piece_t cut_last_word(piece_t *line)
{
    size_t start = line->length;
    while (start > 0 && line->text[start - 1] != ' ') {
        start--;
    }
    piece_t word = {line->text + start, line->length - start};
    line->length = start;
    return word;
}

static piece_t first_word(piece_t line)
{
    size_t start = 0;
    while (start < line.length && line.text[start] == ' ') {
        start++;
    }
    size_t end = start;
    while (end < line.length && line.text[end] != ' ') {
        end++;
    }
    return (piece_t){line.text + start, end - start};
}

/** True if the line contains ` key=`. */
static bool is_given(piece_t line, const console_usage_item_t *item)
{
    for (size_t at = 0; at + item->key_length + 2 <= line.length; at++) {
        if (line.text[at] == ' ' && memcmp(line.text + at + 1, item->key, item->key_length) == 0 &&
            line.text[at + 1 + item->key_length] == '=') {
            return true;
        }
    }
    return false;
}

/** True if the line ends inside a quoted value. */
static bool is_quoted(piece_t line)
{
    bool quoted = false;
    for (size_t i = 0; i < line.length; i++) {
        quoted ^= line.text[i] == '"';
    }
    return quoted;
}

static bool name_of_command(console_row_at_t row_at, piece_t typed, size_t index, line_editor_word_t *word)
{
    console_row_t row;
    for (size_t i = 0; row_at(i, &row); i++) {
        size_t length = strlen(row.name);
        if (starts_with(row.name, length, typed) && index-- == 0) {
            *word = (line_editor_word_t){row.name, length, typed.length, ' '};
            return true;
        }
    }
    return false;
}

static bool key_of_argument(const char *usage, piece_t line, piece_t typed, size_t index,
                            line_editor_word_t *word)
{
    console_usage_item_t item;
    while ((usage = console_usage_next(usage, &item)) != NULL) {
        if (starts_with(item.key, item.key_length, typed) && !is_given(line, &item) && index-- == 0) {
            *word = (line_editor_word_t){item.key, item.key_length, typed.length, '='};
            return true;
        }
    }
    return false;
}

/** Completes a value: one of the words of `a|b|c`, or 1 for a key like `wait`. Values of other
 * types have no completions. */
static bool word_of_value(const console_usage_item_t *item, piece_t typed, size_t index,
                          line_editor_word_t *word)
{
    const char *end = item->type + item->type_length;
    const char *at = item->type;
    bool has_words = memchr(at, '|', item->type_length) != NULL || (*at >= 'a' && *at <= 'z') || *at == '1';
    while (has_words && at < end) {
        const char *bar = memchr(at, '|', (size_t)(end - at));
        size_t length = (size_t)((bar != NULL ? bar : end) - at);
        if (starts_with(at, length, typed) && index-- == 0) {
            *word = (line_editor_word_t){at, length, typed.length, ' '};
            return true;
        }
        at += length + 1;
    }
    return false;
}

static bool value_of_argument(const char *usage, piece_t typed, size_t index, line_editor_word_t *word)
{
    size_t key_length = (size_t)((const char *)memchr(typed.text, '=', typed.length) - typed.text);
    piece_t value = {typed.text + key_length + 1, typed.length - key_length - 1};
    console_usage_item_t item;
    while ((usage = console_usage_next(usage, &item)) != NULL) {
        if (item.key_length == key_length && memcmp(item.key, typed.text, key_length) == 0) {
            return word_of_value(&item, value, index, word);
        }
    }
    return false;
}

bool console_complete(console_row_at_t row_at, const char *text, size_t length, size_t index,
                      line_editor_word_t *word)
{
    piece_t line = {text, length};
    if (is_quoted(line)) {
        return false;
    }
    piece_t typed = cut_last_word(&line);
    piece_t command = first_word(line);
    if (command.length == 0) {
        return name_of_command(row_at, typed, index, word);
    }
    console_row_t row;
    for (size_t i = 0; row_at(i, &row); i++) {
        if (strlen(row.name) != command.length || memcmp(row.name, command.text, command.length) != 0) {
            continue;
        }
        if (row.usage == NULL) {
            return name_of_command(row_at, typed, index, word);
        }
        return typed.length > 0 && memchr(typed.text, '=', typed.length) != NULL
                   ? value_of_argument(row.usage, typed, index, word)
                   : key_of_argument(row.usage, line, typed, index, word);
    }
    return false;
}
