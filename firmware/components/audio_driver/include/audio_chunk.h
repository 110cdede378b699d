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
#define AUDIO_CHUNKS 3u        /*!< capture takes one, playback two */

/** @brief Allocates the pool, if it does not exist yet. @return ESP_OK; ESP_ERR_NO_MEM: not enough PSRAM */
esp_err_t audio_chunk_prepare(void);

/** @brief Takes a chunk. Allocates the pool if that failed before. @return NULL: no PSRAM */
void *audio_chunk_take(void);

/** @brief Gives a chunk back; NULL is allowed. */
void audio_chunk_give(void *chunk);

#ifdef __cplusplus
}
#endif
