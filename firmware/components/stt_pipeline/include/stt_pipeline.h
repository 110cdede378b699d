/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Speech to text: a task that copies samples from the microphone into a ring in PSRAM; the network side reads
 * from the ring. The ring is allocated once and never freed; the task runs from start to stop.
 *
 * Only one task (the state manager's) may call prepare, start and stop. Only one task at a time may read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STT_RING_SIZE 65536u /*!< bytes: 2.05 s of 16 kHz mono */

/** Capabilities of the capture task's stack and control block. */
#define STT_TASK_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)

typedef struct {
    bool running;         /*!< the task exists and has not been asked to end */
    uint32_t samples;     /*!< samples captured since start */
    uint32_t dropped;     /*!< samples dropped since start because the ring was full */
    uint32_t read_errors; /*!< calls to audio_driver_read() that failed or timed out */
    uint32_t ring_bytes;  /*!< bytes in the ring that have not been read */
    uint32_t peak;        /*!< largest magnitude of a sample since start, 0 to 32768 */
} stt_pipeline_stats_t;

/**
 * @brief Allocates the ring unless it exists.
 *
 * @return ESP_OK; ESP_ERR_NO_MEM: no 64 KB block in PSRAM
 */
esp_err_t stt_pipeline_prepare(void);

/**
 * @brief Empties the ring and starts capturing into it. The audio driver must be initialised.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already running, no ring, or the audio driver is not initialised
 *      - ESP_ERR_NO_MEM: no memory for the task
 */
esp_err_t stt_pipeline_start(void);

/**
 * @brief Asks the task to end and waits until it has ended and its memory is free. The ring keeps its
 * content.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: not running
 *      - ESP_ERR_TIMEOUT: the task did not end within 2 s. The request to end stays set, so capture may
 *        stop at any time: call stop again, then start
 */
esp_err_t stt_pipeline_stop(void);

/** @brief True from start until a stop that succeeds. */
bool stt_pipeline_is_started(void);

/**
 * @brief Reads captured bytes from the ring, without waiting.
 *
 * @param got bytes read; 0 is not an error
 * @return ESP_OK; ESP_ERR_INVALID_ARG: data or got is NULL; ESP_ERR_INVALID_STATE: the ring does not exist
 */
esp_err_t stt_pipeline_read(void *data, size_t len, size_t *got);

/** @brief False if the ring is full: no task has read from it for 2 s, and new samples are dropped. Any task
 * may call it. */
bool stt_pipeline_is_read(void);

/** @brief Statistics since start; after stop, the statistics of the last run. Any task may call it. */
void stt_pipeline_get_stats(stt_pipeline_stats_t *out);

/** @brief Sizes in bytes of the blocks that start allocates, for an admission check with STT_TASK_CAPS. */
const size_t *stt_pipeline_blocks(size_t *count);

#ifdef __cplusplus
}
#endif
