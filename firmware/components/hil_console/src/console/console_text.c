/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_text.h"

#include <string.h>

#define DEPTH_MAX 3 /* no reply is nested deeper; deeper values are written unchanged */

typedef struct {
    const char *at;
    const char *end;
    void (*write)(const char *text, size_t length);
    bool unfinished; /* the last container continues in the next text */
} text_t;

static void put(const text_t *text, const char *what)
{
    text->write(what, strlen(what));
}

static bool next_is(const text_t *text, char c)
{
    return text->at < text->end && *text->at == c;
}

/** Writes a string without its quotes; unescapes \" and \\. */
static void write_string(text_t *text)
{
    text->at++;
    while (text->at < text->end && *text->at != '"') {
        bool escaped = *text->at == '\\' && text->at + 1 < text->end;
        if (escaped && (text->at[1] == '"' || text->at[1] == '\\')) {
            text->at++;
        }
        text->write(text->at++, 1);
    }
    text->at += text->at < text->end;
}

/** Copies up to the next ',' or closing bracket of the enclosing container. */
static void write_as_it_is(text_t *text)
{
    const char *from = text->at;
    unsigned depth = 0;
    bool in_string = false;
    for (; text->at < text->end; text->at++) {
        char c = *text->at;
        if (c == '"') {
            in_string = !in_string;
        } else if (in_string) {
            text->at += c == '\\' && text->at + 1 < text->end;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (depth == 0 && (c == ',' || c == ']' || c == '}')) {
            break;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    text->write(from, (size_t)(text->at - from));
}

static void write_inline(text_t *text, unsigned depth);

static void write_key(text_t *text, const char *sign)
{
    if (next_is(text, '"')) {
        write_string(text);
        text->at += next_is(text, ':');
        put(text, sign);
    }
}

/** Skips a separator between two elements, or an unexpected character. */
static void skip_separator(text_t *text, char close)
{
    text->at += text->at < text->end && *text->at != close;
}

/** Writes the elements of an array or object, separated by commas, up to its end. */
static void write_elements(text_t *text, char close, unsigned depth)
{
    bool is_first = true;
    while (text->at < text->end && *text->at != close) {
        put(text, is_first ? "" : ", ");
        is_first = false;
        if (close == '}') {
            write_key(text, "=");
        }
        write_inline(text, depth);
        skip_separator(text, close);
    }
    text->at += text->at < text->end;
    bool has_more = text->unfinished && text->at == text->end;
    put(text, is_first && !has_more ? "none" : "");
}

static char closing(char opening)
{
    return opening == '[' ? ']' : '}';
}

static void write_inline(text_t *text, unsigned depth)
{
    if (next_is(text, '"')) {
        write_string(text);
    } else if (depth < DEPTH_MAX && (next_is(text, '[') || next_is(text, '{'))) {
        char close = closing(*text->at++);
        write_elements(text, close, depth + 1);
    } else {
        write_as_it_is(text);
    }
}

/** True if each element gets a separate line: in a non-empty object, or an array of arrays or objects. */
static bool needs_lines(const text_t *text)
{
    if (text->end - text->at < 2) {
        return false;
    }
    char first = text->at[1];
    return (*text->at == '{' && first != '}') || (*text->at == '[' && (first == '[' || first == '{'));
}

static void write_lines(text_t *text)
{
    char close = closing(*text->at++);
    while (text->at < text->end && *text->at != close) {
        put(text, "  ");
        if (close == '}') {
            write_key(text, ": ");
        }
        write_inline(text, 1);
        put(text, "\r\n");
        skip_separator(text, close);
    }
    text->at += text->at < text->end;
}

static void drop_output(const char *text, size_t length)
{
    (void)text;
    (void)length;
}

void console_text_from_members(const char *json, size_t length, bool continues, bool unfinished,
                               void (*write)(const char *text, size_t length))
{
    text_t text = {json, json + length, write, unfinished};
    while (text.at < text.end) {
        text.write = continues ? drop_output : write;
        write_key(&text, ":");
        text.write = write;
        if (needs_lines(&text)) {
            put(&text, continues ? "" : "\r\n");
            write_lines(&text);
        } else {
            put(&text, continues ? "  " : " ");
            write_inline(&text, 0);
            put(&text, "\r\n");
        }
        continues = false;
        skip_separator(&text, '\0');
    }
}
