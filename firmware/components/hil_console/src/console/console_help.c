/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_help.h"

#include <string.h>

#include "array_size.h"
#include "console.h"
#include "console_caps.h"
#include "console_complete.h"
#include "console_output.h"

#define KEY_WIDTH 10

/** Descriptions of the usage types; other types are lists of words. */
static const struct {
    const char *type;
    const char *text;
} TYPES[] = {
    {"N", "a number from 0 to 4294967295"},
    {"SIZES", "1 to 16 sizes, separated by commas"},
    {"TEXT", "text, in double quotes if it contains blanks"},
    {"BASE64", "bytes in base64"},
    {"1", "1"},
};

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "?") == 0;
}

static bool row_at(size_t index, console_row_t *row)
{
    if (index == 0) {
        *row = (console_row_t){"help", NULL};
        return true;
    }
    const console_command_t *command = console_command_at(index - 1);
    if (command == NULL) {
        return false;
    }
    *row = (console_row_t){command->name, command->usage};
    return true;
}

bool console_complete_line(const char *text, size_t length, size_t index, line_editor_word_t *word)
{
    return console_complete(row_at, text, length, index, word);
}

static void write_command(const console_command_t *command)
{
    console_output_text(command->name);
    console_output_text(*command->usage != '\0' ? " " : "");
    console_output_text(command->usage);
    console_output_text("\r\n    ");
    console_output_text(command->help);
    console_output_text("\r\n");
}

static void write_caps(void)
{
    char name[16];
    uint32_t bit;
    console_output_text("capabilities, separated by commas:");
    for (size_t i = 0; (bit = console_caps_bit(i)) != 0; i++) {
        console_output_text(" ");
        console_output_text(console_caps_format(bit, name, sizeof(name)));
    }
}

static bool is_type(const console_usage_item_t *item, const char *type)
{
    return strlen(type) == item->type_length && memcmp(type, item->type, item->type_length) == 0;
}

static void write_type(const console_usage_item_t *item)
{
    if (is_type(item, "CAPS")) {
        write_caps();
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(TYPES); i++) {
        if (is_type(item, TYPES[i].type)) {
            console_output_text(TYPES[i].text);
            return;
        }
    }
    console_output_write(item->type, item->type_length);
}

static void write_arguments(const console_command_t *command)
{
    console_usage_item_t item;
    const char *at = command->usage;
    while ((at = console_usage_next(at, &item)) != NULL) {
        console_output_text("    ");
        console_output_write(item.key, item.key_length);
        size_t padding = item.key_length < KEY_WIDTH ? KEY_WIDTH - item.key_length : 0;
        console_output_write("          ", padding);
        console_output_text(item.required ? "  needed    " : "  optional  ");
        write_type(&item);
        console_output_text("\r\n");
    }
}

/** Lists the commands whose names start with `topic`; for a full name also the arguments. */
static void write_topic(const char *topic)
{
    size_t found = 0;
    const console_command_t *command;
    for (size_t i = 0; (command = console_command_at(i)) != NULL; i++) {
        bool is_named = strcmp(command->name, topic) == 0;
        if (strncmp(command->name, topic, strlen(topic)) == 0) {
            found++;
            telemetry_lock();
            write_command(command);
            if (is_named) {
                write_arguments(command);
            }
            console_output_flush();
            telemetry_unlock();
        }
    }
    telemetry_lock();
    if (found == 0) {
        console_output_text("UNKNOWN_COMMAND: no command starts with ");
        console_output_text(topic);
        console_output_text("; help lists all commands\r\n");
    } else if (*topic == '\0') {
        console_output_text(
            "\r\nhelp mem: commands that start with mem; help heap.hold: one command with its arguments\r\n");
    }
    console_output_flush();
    telemetry_unlock();
}

bool console_help(console_line_result_t result, const console_request_t *request)
{
    bool is_whole = result == CONSOLE_LINE_OK && request->arg_count == 0;
    bool has_word = result == CONSOLE_LINE_ARGUMENT && request->arg_count == 0;
    if (!is_whole && !has_word) {
        return false;
    }
    const char *word = has_word ? request->problem.key : ""; /* the first word that is not key=value */
    if (is_help(request->command)) {
        write_topic(word);
        return true;
    }
    if (strcmp(word, "?") == 0) {
        write_topic(request->command);
        return true;
    }
    return false;
}
