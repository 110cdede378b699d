/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "telemetry.h"

#include <stdatomic.h>
#include "esp_log.h"
#include "esp_random.h"
#include "number_format.h"
#include "nvs.h"
#include "output.h"
#include "record.h"

static const char *TAG = "telemetry";

static atomic_flag s_started = ATOMIC_FLAG_INIT;
static uint32_t s_boot_id_bits;
static char s_boot_id[NUMBER_TEXT_SIZE] = "00000000";
static uint32_t s_boot_count;
static uint32_t s_sequence; /* number of the last record; guarded by the stdout lock */

static esp_err_t count_boot(void)
{
    nvs_handle_t nvs;
    uint32_t count = 0;
    esp_err_t err = nvs_open("hotpin", NVS_READWRITE, &nvs);
    if (err != ESP_OK) {
        return err;
    }
    err = nvs_get_u32(nvs, "boots", &count);
    if (err == ESP_OK || err == ESP_ERR_NVS_NOT_FOUND) {
        count++;
        err = nvs_set_u32(nvs, "boots", count);
    }
    if (err == ESP_OK) {
        err = nvs_commit(nvs);
    }
    nvs_close(nvs);
    if (err == ESP_OK) {
        s_boot_count = count;
    }
    return err;
}

esp_err_t telemetry_init(void)
{
    if (atomic_flag_test_and_set(&s_started)) {
        return ESP_ERR_INVALID_STATE;
    }
    s_boot_id_bits = esp_random();
    number_hex(s_boot_id, s_boot_id_bits, 8, false);
    esp_err_t output_err = telemetry_output_init();
    esp_err_t err = count_boot(); /* even without the UART driver */
    if (err != ESP_OK) {
        ESP_LOGW(TAG, "cannot count the boot in NVS: %s", esp_err_to_name(err));
    }
    return output_err;
}

uint32_t telemetry_boot_id_bits(void)
{
    return s_boot_id_bits;
}

uint32_t telemetry_boot_count(void)
{
    return s_boot_count;
}

esp_err_t telemetry_send(telemetry_record_t *r)
{
    telemetry_lock();
    /* Number the record under the lock, so that records are sent in the order of their numbers. */
    esp_err_t err = telemetry_record_finish(r, esp_log_timestamp(), s_boot_id, s_sequence + 1);
    if (err == ESP_OK) {
        s_sequence++;
        telemetry_write(r->buf, r->len);
    }
    telemetry_unlock();
    return err;
}

void telemetry_resend(const char *line, size_t len)
{
    telemetry_lock();
    telemetry_write(line, len);
    telemetry_unlock();
}

esp_err_t telemetry_send_boot(void)
{
    telemetry_record_t record;
    telemetry_lock();
    telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "boot");
    for (size_t field = 0; (field = telemetry_add_identity(&record, field)) < TELEMETRY_IDENTITY_FIELDS;) {
        telemetry_bool(&record, "more", true);
        telemetry_send(&record);
        telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "boot");
    }
    esp_err_t err = telemetry_send(&record);
    telemetry_unlock();
    return err;
}
