/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory that Wi-Fi, lwIP and WebSocket hold in the product. This firmware has no network, so the blocks are
 * allocated at boot and never freed: free memory is then as in the product. Sizes are set in Kconfig.
 */
#pragma once

#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t internal_bytes; /*!< taken from the heap, headers included */
    uint32_t psram_bytes;
    uint32_t blocks;
} network_model_t;

/**
 * @brief Allocates the blocks. Blocks that do not fit are skipped with a warning, so that the board still
 * starts.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NO_MEM: some allocations failed; the other blocks are held
 *      - ESP_ERR_INVALID_STATE: already called
 */
esp_err_t network_model_start(void);

/** @brief Memory held. Zeros before start, or when disabled. */
void network_model_get(network_model_t *out);

#ifdef __cplusplus
}
#endif
