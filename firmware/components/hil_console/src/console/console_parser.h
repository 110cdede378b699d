/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The console's lines: bytes -> line -> request -> checked arguments.
 *
 * Pure: no IDF header, no allocation, no static state. The same file is compiled for the chip, for the host
 * build and for the parser's own tests. No function trusts its input: any bytes are allowed.
 *
 * A request:   @<id> <command> [key=value ...][*<crc>]
 *   id         1-65535
 *   value      printable ASCII without blanks, or "quoted" with \" and \\ inside
 *   crc        CRC-16/CCITT-FALSE over everything between '@' and the last '*', 4 upper-case hex digits;
 *              optional here. A line with a '*' that is not followed by the right crc is damaged.
 *
 * A typed line has the same form, without "@<id> " and without crc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CONSOLE_LINE_MAX 240 /*!< bytes of a request, without the newline */
#define CONSOLE_ARGS_MAX 12  /*!< mem.thresholds takes nine */
#define CONSOLE_SIZES_MAX 16 /*!< numbers in one SIZES list */
#define CONSOLE_BASE64_MAX (CONSOLE_LINE_MAX / 4 * 3)

/** A line being received. Zero-initialise. */
typedef struct {
    char bytes[CONSOLE_LINE_MAX + 1];
    size_t length;
    bool overlong; /*!< more than CONSOLE_LINE_MAX bytes were received; the excess was dropped */
} console_line_t;

/** Result of parsing a line. */
typedef enum {
    CONSOLE_LINE_OK,
    CONSOLE_LINE_EMPTY,    /*!< no words: nothing to do */
    CONSOLE_LINE_NO_ID,    /*!< starts with '@' but has no usable id to reply to */
    CONSOLE_LINE_CRC,      /*!< the crc does not match the text */
    CONSOLE_LINE_TOO_LONG, /*!< more than CONSOLE_LINE_MAX bytes */
    CONSOLE_LINE_SYNTAX,   /*!< a byte that is not printable ASCII, or an unclosed quote */
    CONSOLE_LINE_ARGUMENT, /*!< not key=value, a duplicate key, or too many arguments */
} console_line_result_t;

typedef struct {
    const char *key;
    const char *value;
} console_arg_t;

/** Error in an argument. Once set, no pointer is NULL; "" means not applicable. */
typedef struct {
    const char *key; /*!< not NUL-terminated: key_length bytes */
    size_t key_length;
    const char *value;
    const char *reason;
} console_problem_t;

/** A parsed line. The strings point into the line's buffer. */
typedef struct {
    uint16_t id;   /*!< 0: typed */
    uint32_t hash; /*!< hash of the text after '@'; distinguishes a repeat from a new request */
    const char *command;
    size_t arg_count;
    console_arg_t args[CONSOLE_ARGS_MAX];
    console_problem_t problem; /*!< set with CONSOLE_LINE_SYNTAX and CONSOLE_LINE_ARGUMENT */
} console_request_t;

/**
 * @brief Adds one received byte to the line. Editing keys are handled by line_editor.h.
 * @return true when the byte ended a line (CR or LF): parse it, then call console_line_reset()
 */
bool console_line_feed(console_line_t *line, char byte);

void console_line_reset(console_line_t *line);

/**
 * @brief Parses a whole line in place: the request's strings point into the line.
 *
 * A request is also found after garbage, if it has a correct crc. Unless the result is CONSOLE_LINE_EMPTY or
 * CONSOLE_LINE_NO_ID, request->id is the id to reply to (0: typed).
 */
console_line_result_t console_parse(console_line_t *line, console_request_t *request);

/**
 * @brief Checks a request's arguments against a command's usage text.
 *
 * @param usage blank-separated `key=TYPE`, optional ones in brackets. Types:
 *   N        decimal number, 0-4294967295
 *   SIZES    comma-separated list of 1 to CONSOLE_SIZES_MAX such numbers, none of which is 0
 *   CAPS     comma-separated list of capability names (console_caps.h)
 *   TEXT     anything, not empty
 *   BASE64   RFC 4648 with padding
 *   1        the digit 1 only
 *   a|b|c    one of these words
 * @return true if every argument is known and well-formed and no required one is missing; otherwise *problem
 * describes the error.
 */
bool console_check_args(const char *usage, const console_request_t *request, console_problem_t *problem);

/** One `key=TYPE` or `[key=TYPE]` of a usage text. */
typedef struct {
    const char *key;
    size_t key_length;
    const char *type;
    size_t type_length;
    bool required;
} console_usage_item_t;

/** Reads the item at `usage`. @return start of the next item; NULL if there was no item to read */
const char *console_usage_next(const char *usage, console_usage_item_t *item);

/** @return the value of `key`; NULL if it is absent */
const char *console_arg(const console_request_t *request, const char *key);

/** @return the value of `key` as a number; `fallback` if it is absent or not a number */
uint32_t console_arg_u32(const console_request_t *request, const char *key, uint32_t fallback);

/** Parses a decimal number. @return false if the text is anything else or does not fit; *value is
 * unchanged */
bool console_parse_u32(const char *text, uint32_t *value);

/** Parses a comma-separated list. @return count of numbers written to `sizes`; 0 if the list is malformed or
 * longer than `max` */
size_t console_parse_sizes(const char *text, uint32_t *sizes, size_t max);

/** Decodes base64. *length gets the number of bytes. @return false if the text is malformed or decodes to
 * more than `max` bytes */
bool console_parse_base64(const char *text, uint8_t *bytes, size_t max, size_t *length);

#ifdef __cplusplus
}
#endif
