/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "stt_pipeline.h"

#include <inttypes.h>
#include <string.h>

#include "array_size.h"
#include "audio_chunk.h"
#include "audio_driver.h"
#include "audio_ring.h"
#include "audio_worker.h"
#include "esp_check.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"
#if CONFIG_HOTPIN_MEM_PRIORITY
#include "memory_priority.h"
#endif
#include "task_core.h"

static const char *TAG = "STT";

/* 8BIT, because the ring is written byte by byte: other memory may allow 32-bit accesses only. */
#define RING_CAPS (MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT)
#define CHUNK_SAMPLES 512 /* 32 ms */
#define CHUNK_BYTES (CHUNK_SAMPLES * sizeof(int16_t))
#define READ_TIMEOUT_MS 200
#define STOP_TIMEOUT_MS 2000

static void *s_memory; /* memory of the ring; never freed */
static audio_ring_t s_ring;
static audio_worker_t s_worker;
static int16_t *s_chunk;             /* from start to stop */
static stt_pipeline_stats_t s_stats; /* written by the capture task while it runs */

static const size_t BLOCKS[] = {CONFIG_HOTPIN_STT_TASK_STACK, AUDIO_WORKER_TCB_SIZE};

const size_t *stt_pipeline_blocks(size_t *count)
{
    *count = ARRAY_SIZE(BLOCKS);
    return BLOCKS;
}

esp_err_t stt_pipeline_prepare(void)
{
    if (s_memory != NULL) {
        return ESP_OK;
    }
    s_memory = heap_caps_malloc(STT_RING_SIZE, RING_CAPS);
    ESP_RETURN_ON_FALSE(s_memory != NULL, ESP_ERR_NO_MEM, TAG,
                        "Ring: no PSRAM block of %u bytes, largest is %" PRIu32, STT_RING_SIZE,
                        (uint32_t)heap_caps_get_largest_free_block(RING_CAPS));
    audio_ring_init(&s_ring, s_memory, STT_RING_SIZE);
    return ESP_OK;
}

static void take_in(const int16_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t magnitude = (uint32_t)(samples[i] < 0 ? -(int32_t)samples[i] : samples[i]);
        if (magnitude > s_stats.peak) {
            s_stats.peak = magnitude;
        }
    }
    size_t bytes = count * sizeof(samples[0]);
    size_t kept = 0;
    if (audio_ring_room(&s_ring) >=
        bytes) { /* only whole chunks: half a sample would shift all later samples */
        kept = audio_ring_write(&s_ring, samples, bytes);
    }
    s_stats.samples += (uint32_t)count;
    s_stats.dropped += (uint32_t)((bytes - kept) / sizeof(samples[0]));
}

static void capture(audio_worker_t *worker)
{
    while (!audio_worker_must_stop(worker)) {
        size_t got = 0;
        esp_err_t err = audio_driver_read(s_chunk, CHUNK_BYTES, &got, READ_TIMEOUT_MS);
        take_in(s_chunk, got / sizeof(s_chunk[0]));
        if (err != ESP_OK) {
            s_stats.read_errors++;
            vTaskDelay(pdMS_TO_TICKS(10)); /* avoids a busy loop if the driver returns an error at once */
        }
    }
}

#if CONFIG_HOTPIN_MEM_PRIORITY
static memory_priority_t s_priority;

static void register_priority(void)
{
    esp_err_t err = memory_priority_register(&s_priority, s_worker.task, CONFIG_HOTPIN_STT_TASK_PRIORITY,
                                             CONFIG_HOTPIN_STT_TASK_PRIORITY_PRESSED);
    if (err != ESP_OK) {
        ESP_LOGW(TAG, "Capture task keeps its priority under memory pressure: %s", esp_err_to_name(err));
    }
}

static void unregister_priority(void)
{
    memory_priority_unregister(&s_priority);
}
#else
static void register_priority(void)
{
}

static void unregister_priority(void)
{
}
#endif

static void give_chunk(void)
{
    audio_chunk_give(s_chunk);
    s_chunk = NULL;
}

esp_err_t stt_pipeline_start(void)
{
    ESP_RETURN_ON_FALSE(s_memory != NULL, ESP_ERR_INVALID_STATE, TAG,
                        "no ring: call stt_pipeline_prepare() first");
    ESP_RETURN_ON_FALSE(!audio_worker_exists(&s_worker), ESP_ERR_INVALID_STATE, TAG, "already running");
    ESP_RETURN_ON_FALSE(audio_driver_is_initialized(), ESP_ERR_INVALID_STATE, TAG,
                        "the audio driver is not initialised");
    audio_ring_init(&s_ring, s_memory, STT_RING_SIZE);
    s_stats = (stt_pipeline_stats_t){0};
    s_chunk = audio_chunk_take();
    ESP_RETURN_ON_FALSE(s_chunk != NULL, ESP_ERR_NO_MEM, TAG, "no PSRAM for %u bytes", AUDIO_CHUNK_SIZE);
    esp_err_t err = audio_worker_start(&s_worker, "stt_capture", capture, CONFIG_HOTPIN_STT_TASK_STACK,
                                       CONFIG_HOTPIN_STT_TASK_PRIORITY, TASK_CORE_SOUND);
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "no memory for a task with %d bytes of stack", CONFIG_HOTPIN_STT_TASK_STACK);
        give_chunk();
        return err;
    }
    register_priority();
    ESP_LOGI(TAG, "Capture started");
    return ESP_OK;
}

esp_err_t stt_pipeline_stop(void)
{
    ESP_RETURN_ON_FALSE(audio_worker_exists(&s_worker), ESP_ERR_INVALID_STATE, TAG, "not running");
    unregister_priority(); /* before the task is deleted */
    ESP_RETURN_ON_ERROR(audio_worker_join(&s_worker, STOP_TIMEOUT_MS), TAG, "the capture task did not end");
    give_chunk();
    ESP_LOGI(TAG, "Capture stopped after %" PRIu32 " samples, %" PRIu32 " dropped", s_stats.samples,
             s_stats.dropped);
    return ESP_OK;
}

bool stt_pipeline_is_started(void)
{
    return audio_worker_exists(&s_worker);
}

esp_err_t stt_pipeline_read(void *data, size_t len, size_t *got)
{
    ESP_RETURN_ON_FALSE(data != NULL && got != NULL, ESP_ERR_INVALID_ARG, TAG, "data or got is NULL");
    *got = 0;
    ESP_RETURN_ON_FALSE(s_memory != NULL, ESP_ERR_INVALID_STATE, TAG,
                        "no ring: call stt_pipeline_prepare() first");
    *got = audio_ring_read(&s_ring, data, len);
    return ESP_OK;
}

bool stt_pipeline_is_read(void)
{
    return s_memory != NULL && audio_ring_room(&s_ring) >= CHUNK_BYTES;
}

void stt_pipeline_get_stats(stt_pipeline_stats_t *out)
{
    *out = s_stats;
    out->running = audio_worker_exists(&s_worker) && !audio_worker_must_stop(&s_worker);
    out->ring_bytes = s_memory != NULL ? audio_ring_used(&s_ring) : 0;
}
