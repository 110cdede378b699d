/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A task that works until it is done or asked to end, and whose memory is free when audio_worker_join()
 * returns: it is neither deleted while it works nor left to the idle task.
 *
 * start and join are for one task; the struct must outlive the worker (static).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Block that a task takes in addition to its stack: its control block (340 bytes requested, 352 taken:
 * recorded with ESP-IDF v5.4). */
#define AUDIO_WORKER_TCB_SIZE 340u

typedef struct audio_worker {
    TaskHandle_t task; /*!< NULL: none */
    void (*run)(struct audio_worker *worker);
    bool stop;
} audio_worker_t;

/**
 * @brief Creates the task.
 *
 * @param run the task's work: polls audio_worker_must_stop() at least every few 100 ms, and returns
 * @param stack_size bytes
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: the last one was not joined
 *      - ESP_ERR_NO_MEM: no memory for the task
 */
esp_err_t audio_worker_start(audio_worker_t *worker, const char *name, void (*run)(audio_worker_t *worker),
                             uint32_t stack_size, UBaseType_t priority, BaseType_t core);

/** @brief For run(): true when the task is asked to end. */
bool audio_worker_must_stop(const audio_worker_t *worker);

/** @brief True from start until join. */
bool audio_worker_exists(const audio_worker_t *worker);

/** @brief True when run() has returned and the task waits to be joined. */
bool audio_worker_is_done(const audio_worker_t *worker);

/**
 * @brief Asks the task to end, waits for it, and frees its memory.
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: there is none, or it is the caller; ESP_ERR_TIMEOUT: the task still
 * runs; the request to end stays
 */
esp_err_t audio_worker_join(audio_worker_t *worker, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
