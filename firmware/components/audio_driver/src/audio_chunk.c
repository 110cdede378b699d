/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "audio_chunk.h"

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "sdkconfig.h"
#if CONFIG_HOTPIN_MEM_POOL
#include <stdatomic.h>
#include "memory_pool.h"
#endif

/* 8BIT, because samples are written in 16 bits: other memory may allow 32-bit accesses only. */
#define CHUNK_CAPS (MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT)

#if CONFIG_HOTPIN_MEM_POOL

static const char *TAG = "AUDIO_CHUNK";
static memory_pool_t *_Atomic s_pool;

esp_err_t audio_chunk_prepare(void)
{
    if (atomic_load(&s_pool) != NULL) {
        return ESP_OK;
    }
    memory_pool_t *pool = memory_pool_create("audio chunks", AUDIO_CHUNK_SIZE, AUDIO_CHUNKS, CHUNK_CAPS);
    if (pool == NULL) {
        return ESP_ERR_NO_MEM;
    }
    memory_pool_set_fallback(pool, true);
    memory_pool_t *none = NULL;
    if (!atomic_compare_exchange_strong(&s_pool, &none, pool)) {
        memory_pool_delete(pool); /* another task was faster */
    }
    return ESP_OK;
}

void *audio_chunk_take(void)
{
    return audio_chunk_prepare() == ESP_OK ? memory_pool_alloc(s_pool) : NULL;
}

void audio_chunk_give(void *chunk)
{
    if (chunk != NULL && memory_pool_free(s_pool, chunk) != ESP_OK) {
        ESP_LOGE(TAG, "%p is not a chunk, or is already free", chunk);
    }
}

#else

esp_err_t audio_chunk_prepare(void)
{
    return ESP_OK;
}

void *audio_chunk_take(void)
{
    return heap_caps_malloc(AUDIO_CHUNK_SIZE, CHUNK_CAPS);
}

void audio_chunk_give(void *chunk)
{
    heap_caps_free(chunk);
}

#endif
