/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mem_log.h"

#include <string.h>
#include "array_size.h"
#include "esp_attr.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "mem_observe.h"
#include "mem_render.h"
#include "mem_ring.h"
#include "number_format.h"
#include "sdkconfig.h"
#include "telemetry.h"

#define FIELD_ROOM 48                          /* bytes of the longest field of a record and "more":true */
#define RECORDS_MAX (2 * TELEMETRY_RECORD_MAX) /* bytes of one snapshot's records */

_Static_assert(MEMORY_HISTORY_SIZE <= 16, "s_log.boxes has a bit for each slot");
_Static_assert(MEMORY_HISTORY_SIZE >= MEM_LOG_BOXES_MAX, "a queued box has a slot");

/* Survives a reset, and takes no heap: RTC memory. */
static RTC_NOINIT_ATTR mem_ring_t s_ring;
/* In RTC memory only to save internal RAM. It contains pointers, so it is emptied at each boot. */
static RTC_NOINIT_ATTR memory_event_t s_events[MEMORY_EVENTS_SIZE];
/* The record or box being written, guarded by the stdout lock. Also in RTC memory, because it is too large
 * for the monitor's stack. */
static RTC_NOINIT_ATTR memory_snapshot_t s_writing;

static struct {
    portMUX_TYPE lock;      /* guards this struct, s_ring and s_events */
    mem_bank_t *bank;       /* bank of this boot */
    const mem_bank_t *last; /* bank of the previous boot, or NULL */
    uint32_t newest;        /* sequence of the newest snapshot, 0: none */
    uint32_t recorded;      /* sequence of the last snapshot written as a record */
    uint32_t newest_event;
    uint16_t boxes;   /* bit n: slot n is queued to be written as a box */
    uint16_t dropped; /* boxes dropped since the last record */
} s_log = {.lock = portMUX_INITIALIZER_UNLOCKED};

void mem_log_init(void)
{
    const memory_last_boot_t boot = {.boot_count = telemetry_boot_count(),
                                     .boot_id = telemetry_boot_id_bits()};
    bool last_valid;
    int bank = mem_ring_open(&s_ring, &boot, &last_valid);
    s_log.bank = &s_ring.bank[bank];
    s_log.last = last_valid ? &s_ring.bank[1 - bank] : NULL;
    memset(s_events, 0, sizeof(s_events));
}

/* Truncates between UTF-8 characters, not inside one. */
static void copy_context(char *out, const char *context)
{
    size_t len = strnlen(context, MEMORY_CONTEXT_SIZE);
    if (len == MEMORY_CONTEXT_SIZE) {
        len--;
        while (len > 0 && ((uint8_t)context[len] & 0xC0) == 0x80) {
            len--;
        }
    }
    memset(out, 0, MEMORY_CONTEXT_SIZE);
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)context[i] < ' ' ? ' ' : context[i]; /* a newline would break the box */
    }
}

static uint16_t slot_bit(uint32_t sequence)
{
    return (uint16_t)(1U << (sequence % MEMORY_HISTORY_SIZE));
}

/* Sequence of the oldest snapshot queued as a box; 0 if none. Call with the lock held. */
static uint32_t oldest_box(void)
{
    uint32_t age = s_log.newest < MEMORY_HISTORY_SIZE ? s_log.newest : MEMORY_HISTORY_SIZE;
    for (; age > 0; age--) {
        uint32_t sequence = s_log.newest - age + 1;
        if (s_log.boxes & slot_bit(sequence)) {
            return sequence;
        }
    }
    return 0;
}

static void drop_box(uint32_t sequence)
{
    s_log.boxes &= (uint16_t)~slot_bit(sequence);
    s_log.dropped++;
}

/* Stores a snapshot; false if the record in its slot is not written yet. Not inlined, so that its snapshot is
 * no longer on the stack when the caller writes that record. */
static NOINLINE_ATTR bool try_put(const memory_stats_t *stats, const memory_delta_t *delta,
                                  const char *context, bool box)
{
    memory_snapshot_t snapshot = {.stats = *stats, .delta = *delta};
    copy_context(snapshot.context, context);
    taskENTER_CRITICAL(&s_log.lock);
    bool room = s_log.newest - s_log.recorded < MEMORY_HISTORY_SIZE;
    if (room) {
        snapshot.sequence = s_log.newest + 1;
        if (s_log.boxes & slot_bit(snapshot.sequence)) {
            drop_box(snapshot.sequence); /* box of the snapshot that used this slot */
        }
        s_log.newest++;
        mem_bank_put(s_log.bank, &snapshot);
        if (box) {
            s_log.boxes |= slot_bit(snapshot.sequence);
            if (__builtin_popcount(s_log.boxes) > MEM_LOG_BOXES_MAX) {
                drop_box(oldest_box());
            }
        }
    }
    taskEXIT_CRITICAL(&s_log.lock);
    if (room) {
        mem_observe_snapshot(&snapshot);
    }
    return room;
}

void mem_log_put(const memory_stats_t *stats, const memory_delta_t *delta, const char *context, bool box)
{
    while (!try_put(stats, delta, context, box)) {
        mem_log_write_one(true);
    }
}

/* Sets the number of queued records, and whether boxes are queued. */
static void count_waiting(uint32_t *records, bool *boxes)
{
    taskENTER_CRITICAL(&s_log.lock);
    *records = s_log.newest - s_log.recorded;
    *boxes = s_log.boxes != 0;
    taskEXIT_CRITICAL(&s_log.lock);
}

bool mem_log_waiting(void)
{
    uint32_t records;
    bool boxes;
    count_waiting(&records, &boxes);
    return records > 0 || boxes;
}

/* Adds a field; if the record is full, sends it and begins another. */
static void add_field(telemetry_record_t *r, const char *key, uint32_t value, bool is_signed)
{
    if (telemetry_record_room(r) < FIELD_ROOM) {
        telemetry_bool(r, "more", true);
        telemetry_send(r);
        telemetry_event_begin(r, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "mem.sample");
    }
    if (is_signed) {
        telemetry_i32(r, key, (int32_t)value);
    } else {
        telemetry_u32(r, key, value);
    }
}

static void send_dropped(uint32_t boxes)
{
    telemetry_record_t record;
    telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "log.dropped");
    telemetry_u32(&record, "boxes", boxes);
    telemetry_send(&record);
}

/* Call with the stdout lock held. */
static void write_record(void)
{
    taskENTER_CRITICAL(&s_log.lock);
    uint32_t sequence = s_log.recorded + 1;
    bool valid = s_log.recorded != s_log.newest && mem_bank_get(s_log.bank, sequence, &s_writing);
    uint32_t dropped = s_log.dropped;
    s_log.dropped = 0;
    taskEXIT_CRITICAL(&s_log.lock);

    if (dropped > 0) {
        send_dropped(dropped);
    }
    if (valid) {
        telemetry_record_t record;
        telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "mem.sample");
        telemetry_str(&record, "context", s_writing.context);
        telemetry_u32(&record, "snapshot", sequence);
#define FIELD_(field, section, row) add_field(&record, #field, s_writing.stats.field, false);
        MEMORY_STATS_FIELDS(FIELD_)
#undef FIELD_
#define FIELD_(field, label, stats_field) \
    add_field(&record, "delta_" #field, (uint32_t)s_writing.delta.field, true);
        MEMORY_BASELINE_FIELDS(FIELD_)
#undef FIELD_
        add_field(&record, "boxes_dropped", dropped, false);
        telemetry_send(&record);
    }
    /* From here on the snapshot's slot may be reused. */
    taskENTER_CRITICAL(&s_log.lock);
    if (s_log.recorded != s_log.newest) {
        s_log.recorded = sequence;
    }
    taskEXIT_CRITICAL(&s_log.lock);
}

/* Removes the oldest queued box; false if there is none. */
static bool take_box(memory_snapshot_t *out)
{
    taskENTER_CRITICAL(&s_log.lock);
    uint32_t sequence = oldest_box();
    bool valid = sequence != 0 && mem_bank_get(s_log.bank, sequence, out);
    if (sequence != 0) {
        s_log.boxes &= (uint16_t)~slot_bit(sequence);
    }
    taskEXIT_CRITICAL(&s_log.lock);
    return valid;
}

static bool enabled(esp_log_level_t level)
{
    return LOG_LOCAL_LEVEL >= level && esp_log_level_get(MEM_TAG) >= level;
}

/* Call with the stdout lock held, so that no other line is written in between. */
static void write_box(void)
{
    if (!take_box(&s_writing) || !enabled(ESP_LOG_INFO)) {
        return;
    }
    const mem_box_t box = {
        .snapshot = &s_writing,
        .time_ms = esp_log_timestamp(),
        .color = LOG_COLOR_I,
        .reset = LOG_RESET_COLOR,
    };
    char *piece = telemetry_scratch();
    size_t len = 0;
    size_t line_len;
    for (unsigned line = 0; (line_len = mem_render_line(&box, line, piece + len)) > 0; line++) {
        len += line_len;
        if (len + MEM_LINE_MAX > TELEMETRY_SCRATCH_SIZE) {
            telemetry_write(piece, len);
            len = 0;
        }
    }
    telemetry_write(piece, len);
}

bool mem_log_write_one(bool force)
{
    uint32_t records;
    bool boxes;
    telemetry_lock();
    count_waiting(&records, &boxes);
    bool write =
        (records > 0 || boxes) && (force || telemetry_has_room(records > 0 ? RECORDS_MAX : MEM_BOX_MAX));
    if (write && records > 0) {
        write_record();
    } else if (write) {
        write_box();
    }
    telemetry_unlock();
    return write;
}

static void keep_event(memory_event_t *event)
{
    taskENTER_CRITICAL(&s_log.lock);
    event->sequence = ++s_log.newest_event;
    s_events[event->sequence % MEMORY_EVENTS_SIZE] = *event;
    taskEXIT_CRITICAL(&s_log.lock);
}

void mem_log_change(const mem_change_t *change)
{
    const memory_warning_t *warning = &change->warning;
    memory_event_t event = {
        .timestamp_ms = warning->timestamp_ms,
        .kind = change->recovered ? MEMORY_EVENT_RECOVERED : MEMORY_EVENT_WARNING,
        .type = warning->type,
        .value = warning->current_value,
        .threshold = warning->threshold_value,
    };
    keep_event(&event);

    telemetry_record_t record;
    telemetry_lock();
    telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE,
                          change->recovered ? "mem.recovered" : "mem.warning");
    telemetry_str(&record, "type", memory_warning_name(warning->type));
    telemetry_u32(&record, "value", warning->current_value);
    telemetry_u32(&record, "threshold", warning->threshold_value);
    telemetry_u32(&record, "timestamp_ms", warning->timestamp_ms);
    telemetry_send(&record);
    telemetry_unlock();
}

void mem_log_alloc_failed(const mem_alloc_failed_t *failed, uint32_t lost)
{
    memory_event_t event = {
        .timestamp_ms = failed->time_ms,
        .kind = MEMORY_EVENT_ALLOC_FAILED,
        .size = failed->size,
        .caps = failed->caps,
        .function = failed->function,
    };
    keep_event(&event);

    telemetry_record_t record;
    telemetry_lock();
    telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "mem.alloc_failed");
    telemetry_u32(&record, "size", failed->size);
    telemetry_u32(&record, "caps", failed->caps);
    telemetry_str(&record, "function", failed->function);
    telemetry_u32(&record, "timestamp_ms", failed->time_ms);
    telemetry_u32(&record, "lost", lost);
    telemetry_send(&record);
    telemetry_unlock();
}

size_t mem_log_events(uint32_t since, memory_event_t *out, size_t max)
{
    size_t count = 0;
    taskENTER_CRITICAL(&s_log.lock);
    uint32_t lost = s_log.newest_event > MEMORY_EVENTS_SIZE ? s_log.newest_event - MEMORY_EVENTS_SIZE : 0;
    uint32_t sequence = since > lost ? since : lost;
    while (sequence < s_log.newest_event && count < max) {
        out[count++] = s_events[++sequence % MEMORY_EVENTS_SIZE];
    }
    taskEXIT_CRITICAL(&s_log.lock);
    return count;
}

size_t mem_log_history(memory_snapshot_t *out, size_t max)
{
    uint32_t newest;
    size_t count = 0;
    taskENTER_CRITICAL(&s_log.lock);
    newest = s_log.newest;
    taskEXIT_CRITICAL(&s_log.lock);
    /* One critical section per snapshot: copying and checking it takes about 15 us. */
    for (uint32_t age = 0; age < MEMORY_HISTORY_SIZE && age < newest && count < max; age++) {
        taskENTER_CRITICAL(&s_log.lock);
        bool valid = mem_bank_get(s_log.bank, newest - age, &out[count]);
        taskEXIT_CRITICAL(&s_log.lock);
        count += valid;
    }
    return count;
}

bool mem_log_last_boot(memory_last_boot_t *boot, memory_snapshot_t *out, size_t max, size_t *count)
{
    if (s_log.last == NULL) {
        return false;
    }
    *boot = s_log.last->boot;
    *count = mem_bank_list(s_log.last, out, max); /* needs no lock: this boot does not write to it */
    return *count > 0 || max == 0;
}

void mem_log_line(char letter, const char *text, int32_t number, const char *unit)
{
    if (!enabled(letter == 'W' ? ESP_LOG_WARN : ESP_LOG_INFO)) {
        return;
    }
    telemetry_lock();
    char *line = telemetry_scratch();
    const char *parts[] = {text, "", unit == NULL ? "" : unit, LOG_RESET_COLOR "\r\n"};
    char digits[NUMBER_TEXT_SIZE];
    if (unit != NULL) {
        number_i32(digits, number, false);
        parts[1] = digits;
    }
    size_t len =
        mem_render_prefix(letter, esp_log_timestamp(), letter == 'W' ? LOG_COLOR_W : LOG_COLOR_I, line);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        size_t part = strlen(parts[i]);
        part = part < TELEMETRY_SCRATCH_SIZE - len ? part : TELEMETRY_SCRATCH_SIZE - len;
        memcpy(line + len, parts[i], part);
        len += part;
    }
    telemetry_write(line, len);
    telemetry_unlock();
}

size_t mem_log_static_size(void)
{
    return sizeof(s_log);
}

size_t mem_log_rtc_size(void)
{
    return sizeof(s_ring) + sizeof(s_events) + sizeof(s_writing);
}
