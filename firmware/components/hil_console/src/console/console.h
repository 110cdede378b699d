/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Interface of the command files: table rows and replies. Console task only.
 *
 * A handler adds members to the reply and returns ESP_OK; on an error its members are replaced by
 * {"ok":false,"err":…,"msg":…}. A reply that outgrows one record continues in the next, with "more":true in
 * all but the last. To the reader, records of one id are one object: members add up, arrays of the same name
 * are joined end to end, objects of the same name member by member.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "array_size.h"
#include "console_parser.h"
#include "esp_err.h"
#include "telemetry.h"

#define CONSOLE_MESSAGE_SIZE 160

typedef struct {
    telemetry_record_t record;
    char buffer[TELEMETRY_BUFFER_SIZE];
    uint16_t id;           /*!< 0: typed, replied to as text */
    const char *container; /*!< name of the open array or object, NULL outside */
    bool is_array;
    bool continues;  /*!< the text ended inside a container */
    bool keep;       /*!< for a repeat of the request */
    const char *err; /*!< replaces the error's name, e.g. BAD_ARGUMENT; NULL: esp_err_to_name() */
    char message[CONSOLE_MESSAGE_SIZE];
    const char *key; /*!< key of the wrong argument, NULL: none; points into the request, like its value */
    size_t key_length;
    const char *value;
    void (*after)(void); /*!< called once the reply has left the UART; for commands that end in a reset */
} console_reply_t;

/** One command: a row of a table. `usage` is checked before the handler runs, so required arguments are
 * present. */
typedef struct {
    const char *name;
    const char *usage; /*!< see console_check_args() */
    esp_err_t (*handler)(const console_request_t *request, console_reply_t *reply);
    const char *help;
} console_command_t;

typedef struct {
    const console_command_t *commands;
    size_t count;
} console_group_t;

#define CONSOLE_GROUP(table)       \
    {                              \
        (table), ARRAY_SIZE(table) \
    }

extern const console_group_t CMD_SYS;
extern const console_group_t CMD_MEM;
extern const console_group_t CMD_HEAP;
extern const console_group_t CMD_BLOCKS;
extern const console_group_t CMD_TTS;
extern const console_group_t CMD_BENCH;
extern const console_group_t CMD_LOG;
extern const console_group_t CMD_API;
extern const console_group_t CMD_MODE;
extern const console_group_t CMD_RESOURCES;

/** The `index`-th command of all groups, NULL after the last. */
const console_command_t *console_command_at(size_t index);

/* --- Replies --- */

/** The reply's record with room for `need` more bytes. May send the members added so far. */
telemetry_record_t *console_room(console_reply_t *reply, size_t need);

/** True if the present record has the room that console_room() needs. */
bool console_has_room(const console_reply_t *reply, size_t need);

/** Sends the members added so far; the next ones go into another record. */
void console_next_record(console_reply_t *reply);

/** A member whose value has at most 10 digits. */
void console_u32(console_reply_t *reply, const char *key, uint32_t value);

/** Opens an array or object that may span several records; console_room() inside it closes and reopens it. */
void console_array_begin(console_reply_t *reply, const char *name);
void console_object_begin(console_reply_t *reply, const char *name);
void console_container_end(console_reply_t *reply);

/** Sets the error's text. @return err */
esp_err_t console_fail(console_reply_t *reply, esp_err_t err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** BAD_ARGUMENT, naming key and value. @return an error for the handler to return. */
esp_err_t console_bad_argument(console_reply_t *reply, const char *key, const char *value,
                               const char *reason);

/** @return the capability set of a checked `caps` argument; 0 without one. */
uint32_t console_caps(const console_request_t *request);

/**
 * @brief Background work of commands between two requests (heap.leak). @return false if there is none: the
 * console need not wake for it.
 */
bool cmd_heap_background(void);
