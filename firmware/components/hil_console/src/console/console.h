/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Interface of the command files: table rows and replies. Console task only.
 *
 * A handler adds members to the reply and returns ESP_OK. If it returns an error, the members it added are
 * replaced by {"ok":false,"err":…,"msg":…}. A reply too long for one record continues in the next, with
 * "more":true in all but the last. The reader merges records with the same id into one object, in which
 * arrays with the same name are concatenated, and objects with the same name are merged.
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
    uint16_t id;           /*!< 0: the command was typed; the reply is text */
    const char *container; /*!< name of the open array or object; NULL: none is open */
    bool is_array;
    bool continues;  /*!< the text sent so far ended inside a container */
    bool keep;       /*!< store the reply, in case the request is repeated */
    const char *err; /*!< name of the error, e.g. BAD_ARGUMENT; NULL: use esp_err_to_name() */
    char message[CONSOLE_MESSAGE_SIZE];
    const char *key; /*!< key of the wrong argument or NULL; points into the request, like value */
    size_t key_length;
    const char *value;
    void (*after)(void); /*!< called when the reply has left the UART; for commands that reset the board */
} console_reply_t;

/** One command: a row of a table. Arguments are checked against `usage` before the handler runs, so required
 * ones are present. */
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
extern const console_group_t CMD_HISTORY;
extern const console_group_t CMD_HEAP;
extern const console_group_t CMD_BLOCKS;
extern const console_group_t CMD_TTS;
extern const console_group_t CMD_BENCH;
extern const console_group_t CMD_LOG;
extern const console_group_t CMD_API;
extern const console_group_t CMD_CALLBACKS;
extern const console_group_t CMD_MODE;
extern const console_group_t CMD_RESOURCES;
extern const console_group_t CMD_RTC;
extern const console_group_t CMD_SOUND;
/* Each of these exists only if its CONFIG_HOTPIN_MEM_… option is on. */
extern const console_group_t CMD_ADAPT;
extern const console_group_t CMD_POOL;
extern const console_group_t CMD_PREDICT;
extern const console_group_t CMD_PRIORITY;
extern const console_group_t CMD_PROFILE;
extern const console_group_t CMD_RECLAIM;

/** @return the `index`-th command of all groups; NULL after the last */
const console_command_t *console_command_at(size_t index);

/* --- Replies --- */

/** @return the reply's record, with room for `need` more bytes. To make room, sends the members added so
 * far. */
telemetry_record_t *console_room(console_reply_t *reply, size_t need);

/** True if `need` more bytes fit into the current record, that is, console_room() would not send it. */
bool console_has_room(const console_reply_t *reply, size_t need);

/** Sends the members added so far and begins another record. */
void console_next_record(console_reply_t *reply);

/** Adds a member, in a new record if necessary. */
void console_u32(console_reply_t *reply, const char *key, uint32_t value);

/** Opens an array or object that may span several records: console_room() closes and reopens it as needed. */
void console_array_begin(console_reply_t *reply, const char *name);
void console_object_begin(console_reply_t *reply, const char *name);
void console_container_end(console_reply_t *reply);

/** Sets the error message. @return err */
esp_err_t console_fail(console_reply_t *reply, esp_err_t err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Sets the error BAD_ARGUMENT with key and value. @return the error that the handler must return */
esp_err_t console_bad_argument(console_reply_t *reply, const char *key, const char *value,
                               const char *reason);

/** @return the capabilities in the argument `caps`, which has already been checked; 0 if it is absent */
uint32_t console_caps(const console_request_t *request);

/**
 * @brief Does background work of commands between two requests (heap.leak).
 * @return false if there is none, so the console need not poll
 */
bool cmd_heap_background(void);
