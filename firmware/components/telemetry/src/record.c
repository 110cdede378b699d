/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "record.h"

#include <string.h>
#include "number_format.h"
#include "telemetry_crc.h"

/* The longest text that telemetry_record_finish() appends; reserved while the record is built. */
#define TAIL_SIZE (sizeof(",\"t\":4294967295,\"b\":\"01234567\",\"n\":4294967295}*FFFF\r\n"))

static void put_bytes(telemetry_record_t *r, const char *text, size_t len, size_t reserve)
{
    if (r->overflow || r->len + len + reserve > r->size) {
        r->overflow = true;
        return;
    }
    memcpy(r->buf + r->len, text, len);
    r->len += len;
    r->buf[r->len] = '\0';
}

static void put(telemetry_record_t *r, const char *text)
{
    put_bytes(r, text, strlen(text), TAIL_SIZE);
}

static void put_char(telemetry_record_t *r, char c)
{
    put_bytes(r, &c, 1, TAIL_SIZE);
}

static void begin(telemetry_record_t *r, char *buf, size_t size)
{
    *r = (telemetry_record_t){
        .buf = buf,
        /* At most TELEMETRY_RECORD_MAX, plus newline and NUL, however large buf is. */
        .size = size < TELEMETRY_BUFFER_SIZE ? size : TELEMETRY_RECORD_MAX + sizeof("\r\n"),
        .overflow = size == 0,
    };
}

void telemetry_reply_begin(telemetry_record_t *r, char *buf, size_t size, uint16_t id)
{
    char number[NUMBER_TEXT_SIZE];
    begin(r, buf, size);
    put_char(r, '@');
    number_u32(number, id);
    put(r, number);
    put(r, " {");
}

void telemetry_event_begin(telemetry_record_t *r, char *buf, size_t size, const char *event)
{
    begin(r, buf, size);
    put(r, "@! {");
    telemetry_str(r, "event", event);
}

static void put_key(telemetry_record_t *r, const char *key)
{
    if (r->comma) {
        put_char(r, ',');
    }
    r->comma = true;
    if (key != NULL) {
        put_char(r, '"');
        put(r, key);
        put(r, "\":");
    }
}

void telemetry_u32(telemetry_record_t *r, const char *key, uint32_t value)
{
    char number[NUMBER_TEXT_SIZE];
    put_key(r, key);
    number_u32(number, value);
    put(r, number);
}

void telemetry_i32(telemetry_record_t *r, const char *key, int32_t value)
{
    char number[NUMBER_TEXT_SIZE];
    put_key(r, key);
    number_i32(number, value, false);
    put(r, number);
}

void telemetry_bool(telemetry_record_t *r, const char *key, bool value)
{
    put_key(r, key);
    put(r, value ? "true" : "false");
}

void telemetry_hex(telemetry_record_t *r, const char *key, uint32_t value)
{
    char number[NUMBER_TEXT_SIZE];
    put_key(r, key);
    number_hex(number, value, 8, false);
    put(r, "\"0x");
    put(r, number);
    put_char(r, '"');
}

void telemetry_bytes(telemetry_record_t *r, const char *key, const uint8_t *data, size_t len)
{
    char number[NUMBER_TEXT_SIZE];
    put_key(r, key);
    put_char(r, '"');
    for (size_t i = 0; i < len; i++) {
        number_hex(number, data[i], 2, false);
        put(r, number);
    }
    put_char(r, '"');
}

/*
 * Decodes the first code point of text (len > 0) and returns its number of bytes. A byte that does not start
 * a well-formed UTF-8 sequence (stray or missing continuation bytes, overlong forms, surrogates) is decoded
 * as U+FFFD.
 */
static size_t take_code_point(const uint8_t *text, size_t len, uint32_t *code_point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000}; /* least code point by number of bytes */
    uint8_t first = text[0];
    size_t count = first < 0x80   ? 1
                   : first < 0xC0 ? 0
                   : first < 0xE0 ? 2
                   : first < 0xF0 ? 3
                   : first < 0xF8 ? 4
                                  : 0;

    *code_point = 0xFFFD;
    if (count == 1) {
        *code_point = first;
        return 1;
    }
    if (count == 0 || count > len) {
        return 1;
    }
    uint32_t value = first & (0x7FU >> count);
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 1;
        }
        value = value << 6 | (text[i] & 0x3F);
    }
    if (value < smallest[count] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return 1;
    }
    *code_point = value;
    return count;
}

static void put_escape(telemetry_record_t *r, uint32_t code_unit)
{
    char number[NUMBER_TEXT_SIZE];
    number_hex(number, code_unit, 4, false);
    put(r, "\\u");
    put(r, number);
}

void telemetry_strn(telemetry_record_t *r, const char *key, const char *value, size_t len)
{
    put_key(r, key);
    if (value == NULL) {
        put(r, "null");
        return;
    }
    len = strnlen(value, len);
    put_char(r, '"');
    while (len > 0 && !r->overflow) {
        uint32_t code_point;
        size_t taken = take_code_point((const uint8_t *)value, len, &code_point);
        if (code_point == '"' || code_point == '\\') {
            put_char(r, '\\');
            put_char(r, (char)code_point);
        } else if (code_point >= 0x20 && code_point < 0x7F) {
            put_char(r, (char)code_point);
        } else if (code_point < 0x10000) {
            put_escape(r, code_point);
        } else {
            put_escape(r, 0xD800 + ((code_point - 0x10000) >> 10));
            put_escape(r, 0xDC00 + ((code_point - 0x10000) & 0x3FF));
        }
        value += taken;
        len -= taken;
    }
    put_char(r, '"');
}

void telemetry_str(telemetry_record_t *r, const char *key, const char *value)
{
    telemetry_strn(r, key, value, TELEMETRY_BUFFER_SIZE); /* longer text never fits */
}

static void open_bracket(telemetry_record_t *r, const char *key, char bracket)
{
    put_key(r, key);
    put_char(r, bracket);
    r->comma = false;
}

static void close_bracket(telemetry_record_t *r, char bracket)
{
    put_char(r, bracket);
    r->comma = true;
}

void telemetry_array_begin(telemetry_record_t *r, const char *key)
{
    open_bracket(r, key, '[');
}

void telemetry_array_end(telemetry_record_t *r)
{
    close_bracket(r, ']');
}

void telemetry_object_begin(telemetry_record_t *r, const char *key)
{
    open_bracket(r, key, '{');
}

void telemetry_object_end(telemetry_record_t *r)
{
    close_bracket(r, '}');
}

size_t telemetry_record_room(const telemetry_record_t *r)
{
    return r->overflow || r->len + TAIL_SIZE > r->size ? 0 : r->size - TAIL_SIZE - r->len;
}

esp_err_t telemetry_record_finish(telemetry_record_t *r, uint32_t time_ms, const char *boot_id,
                                  uint32_t sequence)
{
    char number[NUMBER_TEXT_SIZE];
    if (r->overflow) {
        return ESP_ERR_INVALID_SIZE;
    }
    /* The following text fits into the reserved space. */
    number_u32(number, time_ms);
    if (r->comma) {
        put_bytes(r, ",", 1, 1);
    }
    put_bytes(r, "\"t\":", 4, 1);
    put_bytes(r, number, strlen(number), 1);
    put_bytes(r, ",\"b\":\"", 6, 1);
    put_bytes(r, boot_id, strnlen(boot_id, 8), 1);
    put_bytes(r, "\",\"n\":", 6, 1);
    number_u32(number, sequence);
    put_bytes(r, number, strlen(number), 1);
    put_bytes(r, "}", 1, 1);
    uint16_t crc = telemetry_crc16(TELEMETRY_CRC_START, r->buf + 1, r->len - 1);
    number_hex(number, crc, 4, true);
    put_bytes(r, "*", 1, 1);
    put_bytes(r, number, strlen(number), 1);
    put_bytes(r, "\r\n", 2, 1);
    return ESP_OK;
}
