/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "console_parser.h"

#include <string.h>

#include "console_caps.h"
#include "telemetry_crc.h"

#define CRC_DIGITS 4

typedef enum {
    CRC_ABSENT,
    CRC_RIGHT,
    CRC_WRONG,
} crc_state_t;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_printable(char c)
{
    return c >= 0x20 && c < 0x7f;
}

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* --- Lines --- */

void console_line_reset(console_line_t *line)
{
    line->length = 0;
    line->overlong = false;
}

bool console_line_feed(console_line_t *line, char byte)
{
    if (byte == '\n' || byte == '\r') {
        return true;
    }
    if (line->length == CONSOLE_LINE_MAX) {
        line->overlong = true;
        return false;
    }
    line->bytes[line->length++] = byte;
    return false;
}

/* --- Requests --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/** True if `text` contains the crc of its first `length` characters, `gap` characters after them. */
static bool crc_follows(const char *text, size_t length, size_t gap)
{
    unsigned given = 0;
    for (size_t i = length + gap; i < length + gap + CRC_DIGITS; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0) {
            return false;
        }
        given = given * 16 + (unsigned)digit;
    }
    return given == telemetry_crc16(TELEMETRY_CRC_START, text, length);
}

/** Checks the crc of a request. `text` starts after the '@'; sets *body to the length without the crc. */
static crc_state_t check_crc(const char *text, size_t length, size_t *body)
{
    size_t star = length;
    while (star > 0 && text[star - 1] != '*') {
        star--;
    }
    if (star == 0) {
        *body = length;
        /* If the '*' was lost or changed, the crc's digits would be taken as the end of the last value. */
        bool lost = length > CRC_DIGITS && crc_follows(text, length - CRC_DIGITS, 0);
        bool changed = length > CRC_DIGITS + 1 && crc_follows(text, length - CRC_DIGITS - 1, 1);
        return lost || changed ? CRC_WRONG : CRC_ABSENT;
    }
    *body = star - 1;
    return length - star == CRC_DIGITS && crc_follows(text, *body, 1) ? CRC_RIGHT : CRC_WRONG;
}

/** FNV-1a. 32 bits are plenty: a hash is compared only with the few cached replies, and only if the id
 * matches. */
static uint32_t hash_text(const char *text, size_t length)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (uint8_t)text[i]) * 16777619u;
    }
    return hash;
}

/** Reads "<id>" at the start of `text`. @return characters read; 0 if there is no id from 1 to 65535 */
static size_t read_id(const char *text, size_t length, uint16_t *id)
{
    uint32_t value = 0;
    size_t used = 0;
    while (used < length && used < 6 && text[used] >= '0' && text[used] <= '9') {
        value = value * 10 + (uint32_t)(text[used++] - '0');
    }
    if (used == 0 || value == 0 || value > UINT16_MAX ||
        (used < length && !is_blank(text[used]) && text[used] != '*')) {
        return 0;
    }
    *id = (uint16_t)value;
    return used;
}

static void set_problem(console_problem_t *problem, const char *key, size_t key_length, const char *value,
                        const char *reason)
{
    *problem = (console_problem_t){key, key_length, value, reason};
}

static console_line_result_t syntax_error(console_request_t *request, const char *reason)
{
    set_problem(&request->problem, "", 0, "", reason);
    return CONSOLE_LINE_SYNTAX;
}

static console_line_result_t argument_error(console_request_t *request, const char *key, const char *value,
                                            const char *reason)
{
    set_problem(&request->problem, key, strlen(key), value, reason);
    return CONSOLE_LINE_ARGUMENT;
}

/** Removes the quotes and backslashes of a quoted value. @return the byte after the closing quote; NULL if
 * the quote is not closed */
static char *unquote(char *value)
{
    char *to = value;
    char *from = value + 1;
    while (*from != '"') {
        if (*from == '\\') {
            from++;
        }
        if (*from == '\0') {
            return NULL;
        }
        *to++ = *from++;
    }
    *to = '\0';
    return from + 1;
}

/** Splits `text` (NUL-terminated, printable) into command and arguments. */
static console_line_result_t split_words(char *text, console_request_t *request)
{
    while (is_blank(*text)) {
        text++;
    }
    if (*text == '\0') {
        return syntax_error(request, "no command");
    }
    request->command = text;
    text += strcspn(text, " \t");

    while (*text != '\0') {
        *text++ = '\0';
        while (is_blank(*text)) {
            text++;
        }
        if (*text == '\0') {
            break;
        }
        char *key = text;
        while (is_key_char(*text)) {
            text++;
        }
        if (text == key || *text != '=') {
            key[strcspn(key, " \t")] = '\0';
            return argument_error(request, key, "", "not key=value");
        }
        *text++ = '\0';
        char *value = text;
        if (*value == '"') {
            text = unquote(value);
            if (text == NULL) {
                return syntax_error(request, "a quote is not closed");
            }
            if (*text != '\0' && !is_blank(*text)) {
                return syntax_error(request, "text after a closing quote");
            }
        } else {
            text += strcspn(text, " \t");
        }
        if (request->arg_count == CONSOLE_ARGS_MAX) {
            return argument_error(request, key, "", "too many arguments");
        }
        if (console_arg(request, key) != NULL) {
            *text = '\0';
            return argument_error(request, key, value, "given twice");
        }
        request->args[request->arg_count++] = (console_arg_t){key, value};
    }
    return CONSOLE_LINE_OK;
}

console_line_result_t console_parse(console_line_t *line, console_request_t *request)
{
    memset(request, 0, sizeof(*request));
    char *text = line->bytes;
    size_t length = line->length;
    while (length > 0 && is_blank(text[length - 1])) {
        length--;
    }
    while (length > 0 && is_blank(*text)) {
        text++;
        length--;
    }
    if (length == 0) {
        return CONSOLE_LINE_EMPTY;
    }
    text[length] = '\0';

    size_t body = length;
    crc_state_t crc = CRC_ABSENT;
    bool is_request = *text == '@';
    if (is_request) {
        crc = check_crc(text + 1, length - 1, &body);
    }
    if (crc != CRC_RIGHT) {
        /* A request may follow garbage; it is found by its crc. */
        for (size_t at = length; at-- > 1;) {
            size_t tail_body;
            if (text[at] == '@' && check_crc(text + at + 1, length - at - 1, &tail_body) == CRC_RIGHT) {
                text += at;
                length -= at;
                body = tail_body;
                crc = CRC_RIGHT;
                is_request = true;
                break;
            }
        }
    }

    if (is_request) {
        text++;
        length--;
        size_t used = read_id(text, length, &request->id);
        if (used == 0) {
            return CONSOLE_LINE_NO_ID;
        }
        if (line->overlong && crc != CRC_RIGHT) {
            return CONSOLE_LINE_TOO_LONG;
        }
        if (crc == CRC_WRONG) {
            return CONSOLE_LINE_CRC;
        }
        request->hash = hash_text(text, length);
        text[body] = '\0';
        text += used;
        length = body - used;
    } else if (line->overlong) {
        return CONSOLE_LINE_TOO_LONG;
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_printable(text[i]) && text[i] != '\t') {
            return syntax_error(request, "a byte that is not printable ASCII");
        }
    }
    return split_words(text, request);
}

/* --- Arguments --- */

const char *console_arg(const console_request_t *request, const char *key)
{
    for (size_t i = 0; i < request->arg_count; i++) {
        if (strcmp(request->args[i].key, key) == 0) {
            return request->args[i].value;
        }
    }
    return NULL;
}

uint32_t console_arg_u32(const console_request_t *request, const char *key, uint32_t fallback)
{
    const char *text = console_arg(request, key);
    uint32_t value;
    return text != NULL && console_parse_u32(text, &value) ? value : fallback;
}

/** Reads a decimal number. @return the character after its digits; NULL if they are not a uint32_t */
static const char *read_number(const char *text, uint32_t *value)
{
    uint64_t sum = 0;
    const char *at = text;
    while (*at >= '0' && *at <= '9') {
        sum = sum * 10 + (uint64_t)(*at++ - '0');
        if (sum > UINT32_MAX) {
            return NULL;
        }
    }
    if (at == text) {
        return NULL;
    }
    *value = (uint32_t)sum;
    return at;
}

bool console_parse_u32(const char *text, uint32_t *value)
{
    uint32_t number;
    const char *end = read_number(text, &number);
    if (end == NULL || *end != '\0') {
        return false;
    }
    *value = number;
    return true;
}

size_t console_parse_sizes(const char *text, uint32_t *sizes, size_t max)
{
    size_t count = 0;
    while (count < max) {
        uint32_t number;
        text = read_number(text, &number);
        if (text == NULL || number == 0) {
            return 0;
        }
        sizes[count++] = number;
        if (*text == '\0') {
            return count;
        }
        if (*text++ != ',') {
            return 0;
        }
    }
    return 0;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool console_parse_base64(const char *text, uint8_t *bytes, size_t max, size_t *length)
{
    size_t chars = strlen(text);
    if (chars == 0 || chars % 4 != 0) {
        return false;
    }
    size_t padding = text[chars - 1] != '=' ? 0 : text[chars - 2] != '=' ? 1 : 2;
    size_t size = chars / 4 * 3 - padding;
    if (size > max) {
        return false;
    }
    size_t written = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < chars; i++) {
        int digit = i < chars - padding ? base64_digit(text[i]) : 0;
        if (digit < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            for (int shift = 16; shift >= 0 && written < size; shift -= 8) {
                bytes[written++] = (uint8_t)(bits >> shift);
            }
            bits = 0;
        }
    }
    *length = size;
    return true;
}

/** True if `word` is one of the `|`-separated words of `choices`, which has `length` characters. */
static bool is_choice(const char *word, const char *choices, size_t length)
{
    size_t word_length = strlen(word);
    const char *end = choices + length;
    while (choices < end) {
        const char *bar = memchr(choices, '|', (size_t)(end - choices));
        size_t choice = (size_t)((bar != NULL ? bar : end) - choices);
        if (choice == word_length && memcmp(choices, word, choice) == 0) {
            return true;
        }
        choices += choice + 1;
    }
    return false;
}

/** @return the reason why `value` is not a valid `type`; NULL if it is valid */
static const char *check_value(const char *type, size_t length, const char *value)
{
    uint32_t sizes[CONSOLE_SIZES_MAX];
    uint8_t bytes[CONSOLE_BASE64_MAX];
    size_t count;
    if (length == 1 && *type == 'N') {
        return console_parse_u32(value, sizes) ? NULL : "not a number from 0 to 4294967295";
    }
    if (length == 1 && *type == '1') {
        return strcmp(value, "1") == 0 ? NULL : "must be 1";
    }
    if (length == 5 && memcmp(type, "SIZES", 5) == 0) {
        return console_parse_sizes(value, sizes, CONSOLE_SIZES_MAX) > 0
                   ? NULL
                   : "not a comma-separated list of 1 to 16 sizes above 0";
    }
    if (length == 4 && memcmp(type, "CAPS", 4) == 0) {
        return console_caps_parse(value, sizes)
                   ? NULL
                   : "not a comma-separated list of capabilities (DMA, 8BIT, INTERNAL, ...)";
    }
    if (length == 4 && memcmp(type, "TEXT", 4) == 0) {
        return *value != '\0' ? NULL : "empty";
    }
    if (length == 6 && memcmp(type, "BASE64", 6) == 0) {
        return console_parse_base64(value, bytes, sizeof(bytes), &count) ? NULL : "not base64";
    }
    return is_choice(value, type, length) ? NULL : "not one of the allowed words";
}

const char *console_usage_next(const char *usage, console_usage_item_t *item)
{
    while (*usage == ' ') {
        usage++;
    }
    if (*usage == '\0') {
        return NULL;
    }
    item->required = *usage != '[';
    usage += !item->required;
    item->key = usage;
    item->key_length = strcspn(usage, "=");
    item->type = usage + item->key_length + 1;
    item->type_length = strcspn(item->type, " ]");
    usage = item->type + item->type_length;
    return usage + (*usage == ']');
}

static bool names(const console_usage_item_t *item, const char *key)
{
    return strlen(key) == item->key_length && memcmp(key, item->key, item->key_length) == 0;
}

bool console_check_args(const char *usage, const console_request_t *request, console_problem_t *problem)
{
    console_usage_item_t item;
    for (size_t i = 0; i < request->arg_count; i++) {
        const console_arg_t *arg = &request->args[i];
        const char *at = usage;
        const char *reason = "unknown argument";
        while ((at = console_usage_next(at, &item)) != NULL) {
            if (names(&item, arg->key)) {
                reason = check_value(item.type, item.type_length, arg->value);
                break;
            }
        }
        if (reason != NULL) {
            set_problem(problem, arg->key, strlen(arg->key), arg->value, reason);
            return false;
        }
    }
    for (const char *at = usage; (at = console_usage_next(at, &item)) != NULL;) {
        bool given = false;
        for (size_t i = 0; i < request->arg_count; i++) {
            given |= names(&item, request->args[i].key);
        }
        if (item.required && !given) {
            set_problem(problem, item.key, item.key_length, "", "missing");
            return false;
        }
    }
    return true;
}
