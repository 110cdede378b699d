/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Speech to text: a task that carries samples from the microphone into a ring in PSRAM, from which the
 * network side reads. The ring is made once and kept for the whole run; the task lives from start to stop.
 *
 * prepare, start and stop are for one task (that of the state manager); read is for one consumer.
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

/** What the capture task's stack and control block are to be had with. */
#define STT_TASK_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)

typedef struct {
    bool running;
    uint32_t samples;     /*!< captured since start */
    uint32_t dropped;     /*!< of these, lost because the ring was full: nobody read */
    uint32_t read_errors; /*!< reads that the audio driver failed or that timed out */
    uint32_t ring_bytes;  /*!< waiting in the ring */
    uint32_t peak;        /*!< largest magnitude since start, 0 to 32768 */
} stt_pipeline_stats_t;

/**
 * @brief Makes the ring; does nothing when there is one.
 *
 * @return ESP_OK; ESP_ERR_NO_MEM: no 64 KB block in PSRAM
 */
esp_err_t stt_pipeline_prepare(void);

/**
 * @brief Empties the ring and starts capturing into it. The audio driver must be initialised.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: it runs, there is no ring, or the audio driver is not initialised
 *      - ESP_ERR_NO_MEM: no room for the task
 */
esp_err_t stt_pipeline_start(void);

/**
 * @brief Asks the task to end and waits until it has and its memory is back. The ring and what is in it stay.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: it does not run
 *      - ESP_ERR_TIMEOUT: the task has not ended within 2 s; it still runs
 */
esp_err_t stt_pipeline_stop(void);

/**
 * @brief Takes captured bytes out of the ring, without waiting.
 *
 * @param got bytes taken; 0 is no error
 * @return ESP_OK; ESP_ERR_INVALID_ARG: data or got is NULL; ESP_ERR_INVALID_STATE: there is no ring
 */
esp_err_t stt_pipeline_read(void *data, size_t len, size_t *got);

/** @brief The figures of this start, or after stop of the last one. From any task. */
void stt_pipeline_get_stats(stt_pipeline_stats_t *out);

/** @brief The blocks that start needs, for an admission check with STT_TASK_CAPS. */
const size_t *stt_pipeline_blocks(size_t *count);

#ifdef __cplusplus
}
#endif
