/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The end of a record, for telemetry_send(). Pure: no IDF header but esp_err.h.
 */
#pragma once

#include "telemetry.h"

/**
 * Appends t, b and n, closes the object, and appends the CRC and "\r\n".
 * ESP_ERR_INVALID_SIZE: the record has overflowed; it is left unchanged.
 */
esp_err_t telemetry_record_finish(telemetry_record_t *r, uint32_t time_ms, const char *boot_id,
                                  uint32_t sequence);
