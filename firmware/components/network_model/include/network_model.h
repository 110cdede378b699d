/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory that Wi-Fi, lwIP and WebSocket use in the product. This firmware has no network. Instead it
 * allocates these blocks at boot and never frees them, so that free memory matches the product. Kconfig sets
 * their sizes.
 */
#pragma once

#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t internal_bytes; /*!< internal memory allocated, including block headers */
    uint32_t psram_bytes;    /*!< PSRAM allocated, including block headers */
    uint32_t blocks;
} network_model_t;

/**
 * @brief Allocates the blocks. A block that does not fit is skipped with a warning, so that the board still
 * starts.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NO_MEM: some allocations failed; the other blocks stay allocated
 *      - ESP_ERR_INVALID_STATE: already called
 */
esp_err_t network_model_start(void);

/** @brief Memory allocated by the model; zeros before start, or if the model is disabled. */
void network_model_get(network_model_t *out);

#ifdef __cplusplus
}
#endif
