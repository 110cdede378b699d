/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Telemetry: the console UART, and one-line records on it.
 *
 *     @12 {"ok":true,…,"t":123,"b":"1a2b3c4d","n":7}*CRC4      reply to request 12
 *     @! {"event":"boot",…,"t":123,"b":"1a2b3c4d","n":8}*CRC4  event
 *
 * t is ms since boot, b the boot id, n counts the records of a boot. The CRC is CRC-16/CCITT-FALSE over
 * everything after '@' up to the last '*', in 4 upper-case hex digits. Records are ASCII and at most
 * TELEMETRY_RECORD_MAX bytes without the newline; longer data is split into several records with
 * "more":true on all but the last.
 *
 * All output goes through the UART driver's transmit ring in large pieces. ESP-IDF's own stdout passes
 * single characters to the driver, and each then takes 32 bytes of the ring.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TELEMETRY_RECORD_MAX 480                         //!< Bytes of a record without its newline
#define TELEMETRY_BUFFER_SIZE (TELEMETRY_RECORD_MAX + 4) //!< A buffer that holds any record

/* --- Starting --- */

/** Saves the current free heap (free_at_main). Call it first in app_main. */
void telemetry_mark_start(void);

/**
 * Installs the UART driver (transmit ring of CONFIG_HOTPIN_UART_TX_RING bytes) under stdout, draws a random
 * boot id, and counts the boot in NVS (namespace "hotpin", key "boots"). Call nvs_flash_init() first; without
 * NVS the count is 0. Does not send a record.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already called
 *      - other errors from the UART driver; an error of NVS is only logged
 */
esp_err_t telemetry_init(void);
uint32_t telemetry_boot_id_bits(void); //!< Boot id; records have it as 8 lower-case hex digits
uint32_t telemetry_boot_count(void);   //!< 1 at the first boot after NVS was erased; 0: unknown

/* --- Building a record: no allocation, no printf, about 100 bytes of stack --- */

typedef struct telemetry_record {
    char *buf;     //!< Buffer of the record; after telemetry_send() the whole line
    size_t size;   //!< Capacity of buf, bytes
    size_t len;    //!< Bytes used in buf
    bool comma;    //!< The next value needs a comma
    bool overflow; //!< A value did not fit: telemetry_send() fails
} telemetry_record_t;

/** Begins `@<id> {`. buf should have TELEMETRY_BUFFER_SIZE bytes. */
void telemetry_reply_begin(telemetry_record_t *r, char *buf, size_t size, uint16_t id);
/** Begins `@! {"event":"<event>"`. */
void telemetry_event_begin(telemetry_record_t *r, char *buf, size_t size, const char *event);

/* Each of these functions adds one value. key NULL: the value is an element of an array. Keys must be plain
 * ASCII; they are not escaped. */
void telemetry_u32(telemetry_record_t *r, const char *key, uint32_t value);
void telemetry_i32(telemetry_record_t *r, const char *key, int32_t value);
void telemetry_bool(telemetry_record_t *r, const char *key, bool value);
/** Non-ASCII characters become \u escapes, invalid UTF-8 becomes \ufffd. NULL is written as null. */
void telemetry_str(telemetry_record_t *r, const char *key, const char *value);
/** Adds at most the first len bytes of value. */
void telemetry_strn(telemetry_record_t *r, const char *key, const char *value, size_t len);
/** Adds an address or bit mask as text: "0x3ffb0000". */
void telemetry_hex(telemetry_record_t *r, const char *key, uint32_t value);
/** Adds bytes as lower-case hex digits without separators. */
void telemetry_bytes(telemetry_record_t *r, const char *key, const uint8_t *data, size_t len);
void telemetry_array_begin(telemetry_record_t *r, const char *key);
void telemetry_array_end(telemetry_record_t *r);
void telemetry_object_begin(telemetry_record_t *r, const char *key);
void telemetry_object_end(telemetry_record_t *r);
/** Bytes that still fit. Space for the fields that telemetry_send() appends is reserved; space for
 * "more":true is not. */
size_t telemetry_record_room(const telemetry_record_t *r);

/**
 * Appends t, b, n, the CRC and the newline, and writes the record in one piece under the stdout lock.
 * Afterwards r->buf contains the line and r->len its length, which may be kept for telemetry_resend().
 *
 * @return ESP_OK; ESP_ERR_INVALID_SIZE: the record has overflowed and was not sent
 */
esp_err_t telemetry_send(telemetry_record_t *r);
/** Sends a line again, unchanged, as telemetry_send() built it. */
void telemetry_resend(const char *line, size_t len);

/* --- Identity --- */

/**
 * Adds the identity: project, version, elf_sha256, idf, chip, rev, mac, psram, flash, reset_reason,
 * boot_count, free_at_main, build, commit, dirty. Starts with field number `field` (0: the first) and adds
 * as many as fit: if project, version and IDF version are long, the last fields need another record.
 * @return number of the first field that did not fit, for the next record; TELEMETRY_IDENTITY_FIELDS if all
 * did
 */
size_t telemetry_add_identity(telemetry_record_t *r, size_t field);
#define TELEMETRY_IDENTITY_FIELDS 15u

/** Sends the boot event. */
esp_err_t telemetry_send_boot(void);
/** Name of esp_reset_reason(): "POWERON", "SW", "PANIC", … */
const char *telemetry_reset_reason(void);

/* --- Writing contiguous text --- */

#define TELEMETRY_SCRATCH_SIZE 512

/** The stdout lock (recursive). No other task writes a line between lock and unlock. */
void telemetry_lock(void);
void telemetry_unlock(void);
/** Buffer of TELEMETRY_SCRATCH_SIZE bytes for the task that holds the lock; telemetry_send() does not use
 * it. */
char *telemetry_scratch(void);
/**
 * Writes text; its lines must end in "\r\n". Call it with the lock held. Blocks while the transmit ring is
 * full.
 */
void telemetry_write(const char *text, size_t len);
/**
 * True if `len` bytes, in writes of at most TELEMETRY_SCRATCH_SIZE, fit into the transmit ring without
 * blocking.
 */
bool telemetry_has_room(size_t len);

/**
 * Sets callbacks for the line being typed below the log: `hide` removes it from the screen before other text
 * is written, `show` writes it again before the lock is released. The writing task calls both with the lock
 * held; they may write. Only with CONFIG_HOTPIN_HIL_CONSOLE.
 */
void telemetry_set_foreground(void (*hide)(void), void (*show)(void));

#ifdef __cplusplus
}
#endif
