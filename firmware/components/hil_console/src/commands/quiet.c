/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quiet.h"

#include <stdatomic.h>

#include "esp_log.h"
#include "telemetry.h"

/* The memory manager's tag. Its box is logged at level I, so level W suppresses it and keeps warnings. The
 * first call to esp_log_level_set() for a tag allocates about 13 bytes, which are never freed. */
#define BOX_TAG "MEM_MGR"

#define EVENT_MARK '!' /* after the '@' */

esp_err_t __wrap_telemetry_send(telemetry_record_t *record);
esp_err_t __real_telemetry_send(telemetry_record_t *record);

static bool s_boxes;
static esp_log_level_t s_level; /* the tag's former level; valid while s_boxes is true */
static atomic_bool s_records;

esp_err_t __wrap_telemetry_send(telemetry_record_t *record)
{
    /* A suppressed record gets no sequence number, so the numbers stay consecutive. */
    return s_records && record->buf[1] == EVENT_MARK ? ESP_OK : __real_telemetry_send(record);
}

void quiet_set(bool boxes, bool records)
{
    if (boxes && !s_boxes) {
        s_level = esp_log_level_get(BOX_TAG);
        esp_log_level_set(BOX_TAG, s_level < ESP_LOG_WARN ? s_level : ESP_LOG_WARN);
    } else if (!boxes && s_boxes) {
        esp_log_level_set(BOX_TAG, s_level);
    }
    s_boxes = boxes;
    s_records = records;
}

bool quiet_boxes(void)
{
    return s_boxes;
}

bool quiet_records(void)
{
    return s_records;
}
