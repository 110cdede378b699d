/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "audio_worker.h"

#include "esp_check.h"
#include "freertos/idf_additions.h"
#include "sdkconfig.h"

static const char *TAG = "AUDIO_WORKER";

#define POLL_MS 5

static void task_main(void *arg)
{
    audio_worker_t *worker = arg;
    worker->run(worker);
    /* Suspend, don't delete: audio_worker_join() deletes this task, which frees its memory at once. */
    for (;;) {
        vTaskSuspend(NULL);
    }
}

esp_err_t audio_worker_start(audio_worker_t *worker, const char *name, void (*run)(audio_worker_t *worker),
                             uint32_t stack_size, UBaseType_t priority, BaseType_t core)
{
    ESP_RETURN_ON_FALSE(worker->task == NULL, ESP_ERR_INVALID_STATE, TAG,
                        "%s: the previous task was not joined", name);
    worker->run = run;
    __atomic_store_n(&worker->stop, false, __ATOMIC_RELEASE);
    if (xTaskCreatePinnedToCore(task_main, name, stack_size, worker, priority, &worker->task, core) !=
        pdPASS) {
        worker->task = NULL;
        return ESP_ERR_NO_MEM;
    }
    return ESP_OK;
}

bool audio_worker_must_stop(const audio_worker_t *worker)
{
    return __atomic_load_n(&worker->stop, __ATOMIC_ACQUIRE);
}

bool audio_worker_exists(const audio_worker_t *worker)
{
    return worker->task != NULL;
}

bool audio_worker_is_done(const audio_worker_t *worker)
{
    return worker->task != NULL && eTaskGetState(worker->task) == eSuspended;
}

/** True while the task is still running on a core, which is possible just after it suspends itself. If it
 * were deleted at that time, the idle task would free its memory later. */
static bool is_on_a_core(TaskHandle_t task)
{
    for (BaseType_t core = 0; core < CONFIG_FREERTOS_NUMBER_OF_CORES; core++) {
        if (xTaskGetCurrentTaskHandleForCore(core) == task) {
            return true;
        }
    }
    return false;
}

esp_err_t audio_worker_join(audio_worker_t *worker, uint32_t timeout_ms)
{
    if (worker->task == NULL || worker->task == xTaskGetCurrentTaskHandle()) {
        return ESP_ERR_INVALID_STATE;
    }
    __atomic_store_n(&worker->stop, true, __ATOMIC_RELEASE);
    TickType_t start = xTaskGetTickCount();
    while (!audio_worker_is_done(worker) || is_on_a_core(worker->task)) {
        if (xTaskGetTickCount() - start >= pdMS_TO_TICKS(timeout_ms)) {
            return ESP_ERR_TIMEOUT;
        }
        vTaskDelay(pdMS_TO_TICKS(POLL_MS));
    }
    vTaskDelete(worker->task);
    worker->task = NULL;
    return ESP_OK;
}
