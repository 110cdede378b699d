/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Chunks of audio in PSRAM: the buffers of speech capture and of playback. They come from one pool, which is
 * allocated once and never freed, so that capture and playback do not fragment PSRAM. If the pool is empty,
 * or without CONFIG_HOTPIN_MEM_POOL, a chunk comes from the heap.
 */
#pragma once

#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AUDIO_CHUNK_SIZE 4096u /*!< bytes */
#define AUDIO_CHUNKS 3u        /*!< one for capture, two for playback */

/** @brief Creates the pool, if it does not exist yet. @return ESP_OK; ESP_ERR_NO_MEM: not enough PSRAM, or
 * CONFIG_HOTPIN_MEM_POOLS_MAX pools exist */
esp_err_t audio_chunk_prepare(void);

/** @brief Allocates a chunk; first creates the pool if it does not exist yet. @return NULL: not enough PSRAM
 */
void *audio_chunk_take(void);

/** @brief Frees a chunk; NULL is allowed. */
void audio_chunk_give(void *chunk);

#ifdef __cplusplus
}
#endif
