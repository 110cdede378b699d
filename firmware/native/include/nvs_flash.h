/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's nvs_flash.h.
 */
#pragma once

#include "nvs.h"
#include "esp_partition.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ESP_ERR_NOT_FOUND: no "nvs" partition; ESP_ERR_NVS_NO_FREE_PAGES: the partition has no empty page. */
esp_err_t nvs_flash_init(void);
esp_err_t nvs_flash_deinit(void);
esp_err_t nvs_flash_erase(void);

#ifdef __cplusplus
}
#endif
