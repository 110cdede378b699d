/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mem_render.h"

#include <string.h>
#include "array_size.h"
#include "number_format.h"

#define BORDER_RUN "═══════════════════════════════════════════════════════════" /* 59 characters */
#define LABEL_WIDTH 18 /* width of the column of labels such as "Largest Block:" */

typedef enum { BORDER, CONTEXT, SECTION, BYTES, PERCENT, DELTA } row_kind_t;

typedef struct {
    row_kind_t kind;
    const char *text; /* border corner, section title or label */
    uint8_t field;    /* index of the value in memory_stats_t or memory_delta_t */
    uint8_t kb_width;
} row_t;

#define STATS_INDEX(field) (offsetof(memory_stats_t, field) / sizeof(uint32_t))
#define DELTA_INDEX(field) (offsetof(memory_delta_t, field) / sizeof(int32_t))

#define TITLE_INTERNAL "Internal RAM:"
#define TITLE_DMA "DMA-capable RAM:"
#define TITLE_PSRAM "PSRAM:"
#define TITLE_TOTAL "Total Heap:"
#define KB_WIDTH_INTERNAL 3
#define KB_WIDTH_DMA 3
#define KB_WIDTH_PSRAM 4
#define KB_WIDTH_TOTAL 4

/* clang-format off: tables */

/* FREE is the first row of every section, so it also prints the section's title. */
#define ROW_FREE(field, section)                           \
    {BORDER, "╠", 0, 0}, {SECTION, TITLE_##section, 0, 0}, \
        {BYTES, "Free:", STATS_INDEX(field), KB_WIDTH_##section},
#define ROW_LARGEST(field, section) {BYTES, "Largest Block:", STATS_INDEX(field), KB_WIDTH_##section},
#define ROW_FRAGMENTATION(field, section) {PERCENT, "Fragmentation:", STATS_INDEX(field), 0},
#define ROW_MINIMUM(field, section) {BYTES, "Minimum Ever:", STATS_INDEX(field), KB_WIDTH_##section},
#define ROW_NONE(field, section)
#define ROW_(field, section, row) ROW_##row(field, section)
#define ROW_DELTA_(field, label, stats_field) {DELTA, label, DELTA_INDEX(field), 4},

static const row_t s_rows[] = {
    {BORDER, "╔", 0, 0},
    {CONTEXT, "Memory Statistics - ", 0, 0},
    MEMORY_STATS_FIELDS(ROW_){BORDER, "╠", 0, 0},
    {SECTION, "Memory Delta from Baseline:", 0, 0},
    MEMORY_BASELINE_FIELDS(ROW_DELTA_){BORDER, "╚", 0, 0},
};

/* clang-format on */

static char *put(char *out, const char *text)
{
    size_t len = strlen(text);
    memcpy(out, text, len);
    return out + len;
}

/* Writes text right-aligned in a column of `width` characters. */
static char *put_right(char *out, const char *text, size_t width)
{
    for (size_t len = strlen(text); len < width; len++) {
        *out++ = ' ';
    }
    return put(out, text);
}

static char *put_u32(char *out, uint32_t value, size_t width)
{
    char number[NUMBER_TEXT_SIZE];
    number_u32(number, value);
    return put_right(out, number, width);
}

static char *put_i32(char *out, int32_t value, size_t width)
{
    char number[NUMBER_TEXT_SIZE];
    number_i32(number, value, true);
    return put_right(out, number, width);
}

static char *put_label(char *out, const char *label)
{
    char *end = put(put(out, "║   "), label);
    for (size_t len = strlen(label); len < LABEL_WIDTH; len++) {
        *end++ = ' ';
    }
    return end;
}

size_t mem_render_prefix(char letter, uint32_t time_ms, const char *color, char *out)
{
    char *end = put(out, color);
    *end++ = letter;
    end = put(end, " (");
    end = put_u32(end, time_ms, 0);
    end = put(end, ") " MEM_TAG ": ");
    return (size_t)(end - out);
}

size_t mem_render_line(const mem_box_t *box, unsigned line, char *out)
{
    if (line >= ARRAY_SIZE(s_rows)) {
        return 0;
    }
    const row_t *row = &s_rows[line];
    const uint32_t *stats = (const uint32_t *)&box->snapshot->stats;
    const int32_t *delta = (const int32_t *)&box->snapshot->delta;
    char *end = out + mem_render_prefix('I', box->time_ms, box->color, out);

    switch (row->kind) {
    case BORDER: end = put(put(end, row->text), BORDER_RUN); break;
    case CONTEXT: end = put(put(put(end, "║ "), row->text), box->snapshot->context); break;
    case SECTION: end = put(put(end, "║ "), row->text); break;
    case BYTES:
        end = put_u32(put_label(end, row->text), stats[row->field], 6);
        end = put_u32(put(end, " bytes ("), stats[row->field] / 1024, row->kb_width);
        end = put(end, " KB)");
        break;
    case PERCENT: end = put(put_u32(put_label(end, row->text), stats[row->field], 3), "%"); break;
    case DELTA:
        end = put_i32(put_label(end, row->text), delta[row->field], 7);
        end = put_i32(put(end, " bytes ("), delta[row->field] / 1024, row->kb_width);
        end = put(end, " KB)");
        break;
    }
    end = put(put(end, box->reset), "\r\n");
    *end = '\0';
    return (size_t)(end - out);
}
