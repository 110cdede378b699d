/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A task that runs until its work is done or it is asked to end. Its memory is free when audio_worker_join()
 * returns: the task is never deleted while it works, and its memory is not left for the idle task to free.
 *
 * One task must call both start and join. The struct must outlive the worker (make it static).
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

/** Task control block, allocated in addition to the stack. ESP-IDF v5.4 requests 340 bytes, which occupy 352
 * bytes of heap (recorded on a board). */
#define AUDIO_WORKER_TCB_SIZE 340u

typedef struct audio_worker {
    TaskHandle_t task; /*!< NULL: none */
    void (*run)(struct audio_worker *worker);
    bool stop;
} audio_worker_t;

/**
 * @brief Creates the task.
 *
 * @param run the task's work; polls audio_worker_must_stop() every few hundred ms and returns when it is true
 * @param stack_size bytes
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: the previous task was not joined
 *      - ESP_ERR_NO_MEM: no memory for the task
 */
esp_err_t audio_worker_start(audio_worker_t *worker, const char *name, void (*run)(audio_worker_t *worker),
                             uint32_t stack_size, UBaseType_t priority, BaseType_t core);

/** @brief Whether the task has been asked to end. audio_worker_start() clears the request. */
bool audio_worker_must_stop(const audio_worker_t *worker);

/** @brief True from start until join. */
bool audio_worker_exists(const audio_worker_t *worker);

/** @brief True when run() has returned and the task waits to be joined. */
bool audio_worker_is_done(const audio_worker_t *worker);

/**
 * @brief Asks the task to end, waits for it, and frees its memory.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: no task exists, or the caller is the task itself
 *      - ESP_ERR_TIMEOUT: the task is still running; the request to end stays set
 */
esp_err_t audio_worker_join(audio_worker_t *worker, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
