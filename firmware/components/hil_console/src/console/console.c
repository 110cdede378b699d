/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Command dispatcher: the table of commands, replies over several records, repeated requests.
 */
#include "console.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "array_size.h"
#include "console_caps.h"
#include "console_dispatch.h"
#include "console_help.h"
#include "console_output.h"
#include "console_text.h"
#include "quiet.h"
#include "reply_cache.h"
#include "sdkconfig.h"

#define MORE_MEMBER sizeof(",\"more\":true")
#define BRACKETS 2 /* bytes that close an open container */
/* Bytes of the request quoted in an error message; key and value are separate members. */
#define TEXT_SHOWN 40

static const console_group_t *const GROUPS[] = {
    &CMD_SYS,      &CMD_RESOURCES, &CMD_RTC, &CMD_MODE,  &CMD_SOUND, &CMD_MEM, &CMD_HISTORY,
    &CMD_HEAP,     &CMD_BLOCKS,    &CMD_TTS, &CMD_BENCH, &CMD_LOG,   &CMD_API, &CMD_CALLBACKS,
#if CONFIG_HOTPIN_MEM_ADAPT
    &CMD_ADAPT,
#endif
#if CONFIG_HOTPIN_MEM_POOL
    &CMD_POOL,
#endif
#if CONFIG_HOTPIN_MEM_PREDICT
    &CMD_PREDICT,
#endif
#if CONFIG_HOTPIN_MEM_PRIORITY
    &CMD_PRIORITY,
#endif
#if CONFIG_HOTPIN_MEM_PROFILE
    &CMD_PROFILE,
#endif
#if CONFIG_HOTPIN_MEM_RECLAIM
    &CMD_RECLAIM,
#endif
};

#define GROUP_COUNT ARRAY_SIZE(GROUPS)

static console_reply_t s_reply;

/* --- Replies --- */

static void begin_record(console_reply_t *reply, bool ok)
{
    telemetry_reply_begin(&reply->record, reply->buffer, sizeof(reply->buffer), reply->id);
    telemetry_bool(&reply->record, "ok", ok);
}

/** Sends the reply to a typed command: the members after "ok", line by line. */
static void send_as_text(console_reply_t *reply)
{
    static const char OK_MEMBER[] = "{\"ok\":true";
    const char *members = strstr(reply->buffer, OK_MEMBER);
    const char *end = reply->buffer + reply->record.len;
    bool unfinished = reply->container != NULL;
    telemetry_lock();
    if (members != NULL && members + sizeof(OK_MEMBER) < end) {
        members += sizeof(OK_MEMBER); /* also skips the comma */
        console_text_from_members(members, (size_t)(end - members), reply->continues, unfinished,
                                  console_output_write);
    } else {
        console_output_text("ok\r\n");
    }
    console_output_flush();
    telemetry_unlock();
    reply->continues = unfinished;
}

static void send_record(console_reply_t *reply)
{
    if (reply->id == 0) {
        send_as_text(reply);
        return;
    }
    if (telemetry_send(&reply->record) == ESP_OK && reply->keep) {
        reply_cache_add(reply->buffer, reply->record.len);
    }
}

static void open_container(console_reply_t *reply)
{
    if (reply->is_array) {
        telemetry_array_begin(&reply->record, reply->container);
    } else {
        telemetry_object_begin(&reply->record, reply->container);
    }
}

static void close_container(console_reply_t *reply)
{
    if (reply->is_array) {
        telemetry_array_end(&reply->record);
    } else {
        telemetry_object_end(&reply->record);
    }
}

bool console_has_room(const console_reply_t *reply, size_t need)
{
    return telemetry_record_room(&reply->record) >= need + MORE_MEMBER + BRACKETS;
}

void console_next_record(console_reply_t *reply)
{
    if (reply->container != NULL) {
        close_container(reply);
    }
    if (reply->id != 0) {
        telemetry_bool(&reply->record, "more", true);
    }
    send_record(reply);
    begin_record(reply, true);
    if (reply->container != NULL) {
        open_container(reply);
    }
}

telemetry_record_t *console_room(console_reply_t *reply, size_t need)
{
    if (!console_has_room(reply, need)) {
        console_next_record(reply);
    }
    return &reply->record;
}

void console_u32(console_reply_t *reply, const char *key, uint32_t value)
{
    telemetry_u32(console_room(reply, strlen(key) + sizeof(",\"\":4294967295")), key, value);
}

static void container_begin(console_reply_t *reply, const char *name, bool is_array)
{
    console_room(reply, strlen(name) + sizeof(",\"\":[]"));
    reply->container = name;
    reply->is_array = is_array;
    open_container(reply);
}

void console_array_begin(console_reply_t *reply, const char *name)
{
    container_begin(reply, name, true);
}

void console_object_begin(console_reply_t *reply, const char *name)
{
    container_begin(reply, name, false);
}

void console_container_end(console_reply_t *reply)
{
    close_container(reply);
    reply->container = NULL;
}

esp_err_t console_fail(console_reply_t *reply, esp_err_t err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reply->message, sizeof(reply->message), format, args);
    va_end(args);
    return err;
}

static esp_err_t fail_with_problem(console_reply_t *reply, const console_problem_t *problem)
{
    int shown = problem->key_length < TEXT_SHOWN ? (int)problem->key_length : TEXT_SHOWN;
    reply->err = "BAD_ARGUMENT";
    reply->key = problem->key;
    reply->key_length = problem->key_length;
    reply->value = problem->value;
    return console_fail(reply, ESP_ERR_INVALID_ARG, "%.*s=%.*s: %s", shown, problem->key, TEXT_SHOWN,
                        problem->value, problem->reason);
}

esp_err_t console_bad_argument(console_reply_t *reply, const char *key, const char *value, const char *reason)
{
    const console_problem_t problem = {key, strlen(key), value, reason};
    return fail_with_problem(reply, &problem);
}

static void begin_error(console_reply_t *reply, const char *err)
{
    begin_record(reply, false);
    telemetry_str(&reply->record, "err", err);
}

/** Adds a string without splitting it; starts another record if the current record has no room for it. */
static void add_whole(console_reply_t *reply, const char *err, const char *name, const char *text,
                      size_t length)
{
    telemetry_record_t before = reply->record;
    telemetry_strn(&reply->record, name, text, length);
    if (telemetry_record_room(&reply->record) >= MORE_MEMBER) {
        return;
    }
    reply->record = before;
    telemetry_bool(&reply->record, "more", true);
    send_record(reply);
    begin_error(reply, err);
    before = reply->record;
    telemetry_strn(&reply->record, name, text, length);
    if (reply->record.overflow) { /* possible if nearly every character must be escaped */
        reply->record = before;
        telemetry_strn(&reply->record, name, text, length / 2);
    }
}

/** Sends the error of a typed command. @param command the command with wrong arguments, or NULL */
static void send_error_as_text(const console_reply_t *reply, const char *name, const char *command)
{
    telemetry_lock();
    console_output_text(name);
    console_output_text(reply->message[0] != '\0' ? ": " : "");
    console_output_text(reply->message);
    if (command != NULL) {
        console_output_text("; see help ");
        console_output_text(command);
    }
    console_output_text("\r\n");
    console_output_flush();
    telemetry_unlock();
}

static void send_error(console_reply_t *reply, esp_err_t err, const char *command)
{
    const char *name = reply->err != NULL ? reply->err : esp_err_to_name(err);
    if (reply->id == 0) {
        send_error_as_text(reply, name, command);
        return;
    }
    begin_error(reply, name);
    if (reply->message[0] != '\0') {
        telemetry_str(&reply->record, "msg", reply->message);
    }
    if (reply->key != NULL) {
        add_whole(reply, name, "key", reply->key, reply->key_length);
        add_whole(reply, name, "value", reply->value, strlen(reply->value));
    }
    send_record(reply);
}

static void begin_reply(console_reply_t *reply, uint16_t id)
{
    reply->id = id;
    reply->container = NULL;
    reply->continues = false;
    reply->keep = false;
    reply->err = NULL;
    reply->message[0] = '\0';
    reply->key = NULL;
    reply->after = NULL;
    begin_record(reply, true);
}

/* --- Commands --- */

uint32_t console_caps(const console_request_t *request)
{
    uint32_t caps = 0;
    const char *list = console_arg(request, "caps");
    if (list != NULL) {
        console_caps_parse(list, &caps);
    }
    return caps;
}

const console_command_t *console_command_at(size_t index)
{
    for (size_t g = 0; g < GROUP_COUNT; g++) {
        if (index < GROUPS[g]->count) {
            return &GROUPS[g]->commands[index];
        }
        index -= GROUPS[g]->count;
    }
    return NULL;
}

static const console_command_t *find_command(const char *name)
{
    const console_command_t *command;
    for (size_t i = 0; (command = console_command_at(i)) != NULL; i++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

static void execute(const console_request_t *request, console_reply_t *reply)
{
    const console_command_t *command = find_command(request->command);
    esp_err_t err;
    console_problem_t problem;
    if (command == NULL) {
        reply->err = "UNKNOWN_COMMAND";
        err =
            console_fail(reply, ESP_ERR_NOT_FOUND, "%.*s; type 'help' (without @) for a list of the commands",
                         TEXT_SHOWN, request->command);
    } else if (!console_check_args(command->usage, request, &problem)) {
        err = fail_with_problem(reply, &problem);
    } else {
        err = command->handler(request, reply);
        if (err == ESP_OK && reply->record.overflow) {
            err = console_fail(reply, ESP_ERR_INVALID_SIZE, "the reply of %s does not fit into a record",
                               command->name);
        }
    }
    if (err == ESP_OK) {
        send_record(reply);
    } else {
        reply->after = NULL;
        send_error(reply, err, command != NULL && err == ESP_ERR_INVALID_ARG ? command->name : NULL);
    }
}

/** Sends the cached reply to this request again. @return false if it is not cached */
static bool send_again(const console_request_t *request, console_reply_t *reply)
{
    size_t offset = 0;
    size_t length;
    while ((length = reply_cache_read(request->id, request->hash, offset, reply->buffer,
                                      sizeof(reply->buffer))) > 0) {
        telemetry_resend(reply->buffer, length);
        offset += length;
    }
    return offset > 0;
}

static void answer_bad_line(console_line_result_t result, const console_request_t *request,
                            console_reply_t *reply)
{
    switch (result) {
    case CONSOLE_LINE_CRC: reply->err = "CRC"; break;
    case CONSOLE_LINE_TOO_LONG:
        reply->err = "TOO_LONG";
        console_fail(reply, ESP_ERR_INVALID_SIZE, "a request has at most %d bytes", CONSOLE_LINE_MAX);
        break;
    case CONSOLE_LINE_ARGUMENT: fail_with_problem(reply, &request->problem); break;
    default:
        reply->err = "SYNTAX";
        console_fail(reply, ESP_ERR_INVALID_ARG, "%s", request->problem.reason);
        break;
    }
    send_error(reply, ESP_ERR_INVALID_ARG, result == CONSOLE_LINE_ARGUMENT ? request->command : NULL);
}

bool console_dispatch(console_line_t *line, void (**after)(void))
{
    static console_request_t s_request;
    *after = NULL;
    console_line_result_t result = console_parse(line, &s_request);
    if (result == CONSOLE_LINE_EMPTY || result == CONSOLE_LINE_NO_ID) {
        return false;
    }
    bool by_program = s_request.id != 0;
    if (by_program) {
        quiet_set(false, false); /* so that no test runs on a silenced board */
    } else if (console_help(result, &s_request)) {
        return false;
    }
    if (result == CONSOLE_LINE_OK && by_program && send_again(&s_request, &s_reply)) {
        return true;
    }
    begin_reply(&s_reply, s_request.id);
    if (result != CONSOLE_LINE_OK) {
        answer_bad_line(result, &s_request, &s_reply);
        return by_program;
    }
    if (by_program) {
        reply_cache_begin(s_request.id, s_request.hash);
        s_reply.keep = true;
    }
    execute(&s_request, &s_reply);
    *after = s_reply.after;
    return by_program;
}
