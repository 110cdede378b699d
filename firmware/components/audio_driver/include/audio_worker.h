/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A task that works until it is done or asked to end, and whose memory is back when audio_worker_join()
 * returns: it is never deleted while it works, and not left to the idle task either.
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

/** What a task takes beside its stack, in one block: its control block (340 asked, 352 taken:
 * recorded with ESP-IDF v5.4). */
#define AUDIO_WORKER_TCB_SIZE 340u

typedef struct audio_worker {
    TaskHandle_t task; /*!< NULL: none */
    void (*run)(struct audio_worker *worker);
    bool stop;
} audio_worker_t;

/**
 * @brief Creates the task. ESP_ERR_INVALID_STATE: the last one was not joined; ESP_ERR_NO_MEM: no room for
 * it.
 *
 * @param run works, looking at audio_worker_must_stop() at least every few 100 ms, and returns
 * @param stack_size bytes
 */
esp_err_t audio_worker_start(audio_worker_t *worker, const char *name, void (*run)(audio_worker_t *worker),
                             uint32_t stack_size, UBaseType_t priority, BaseType_t core);

/** @brief For run(): somebody waits for the end. */
bool audio_worker_must_stop(const audio_worker_t *worker);

/** @brief True from start until join. */
bool audio_worker_exists(const audio_worker_t *worker);

/** @brief True when run() has returned and the task waits to be joined. */
bool audio_worker_is_done(const audio_worker_t *worker);

/**
 * @brief Asks the task to end, waits for it, and gives its memory back.
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: there is none, or it is the caller; ESP_ERR_TIMEOUT: it still works,
 * and has been asked to end
 */
esp_err_t audio_worker_join(audio_worker_t *worker, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
