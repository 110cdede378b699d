/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The memory that Wi-Fi, lwIP and WebSocket hold in the product: this firmware has no network, so the blocks
 * are taken at boot and held for the whole run, and the levels left are those of the product. Sizes by
 * Kconfig.
 */
#pragma once

#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t internal_bytes; /*!< taken from the heap, with headers */
    uint32_t psram_bytes;
    uint32_t blocks;
} network_model_t;

/**
 * @brief Takes the blocks. What does not fit is left out with a warning: less memory is no reason not to
 * start.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NO_MEM: not all blocks could be had; those that could are held
 *      - ESP_ERR_INVALID_STATE: called already
 */
esp_err_t network_model_start(void);

/** @brief What is held. Zeros before start, or when it is switched off. */
void network_model_get(network_model_t *out);

#ifdef __cplusplus
}
#endif
