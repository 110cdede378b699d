/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Task priorities under memory pressure: while a critical level of the memory manager is active, registered
 * tasks have another priority. The monitor task sets it after each periodic sample.
 *
 * Any task may call these functions. Reclaimers, warning callbacks and interrupts must not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_PRIORITY_NAME_SIZE 16 //!< Including the terminator

/** One registered task. The struct must stay valid until it is unregistered. */
typedef struct memory_priority {
    void *task; //!< TaskHandle_t
    char name[MEMORY_PRIORITY_NAME_SIZE];
    unsigned normal;
    unsigned pressed;
    bool is_pressed; //!< The task has the priority `pressed`
    struct memory_priority *next;
} memory_priority_t;

typedef struct {
    char name[MEMORY_PRIORITY_NAME_SIZE];
    unsigned normal;
    unsigned pressed;
    unsigned now; //!< Current priority, which a mutex may have raised
    bool is_pressed;
} memory_priority_info_t;

/**
 * Starts to observe the memory manager's samples.
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: already started, or the memory manager is not initialised
 */
esp_err_t memory_priority_start(void);

/**
 * Registers a task. If memory is critical now, its priority changes at once.
 *
 * A priority that the task inherits from a mutex stays until the task releases the mutex. The task's name
 * must be unique.
 *
 * @param normal priority while memory is not critical: the priority that the task was created with
 * @param pressed priority while memory is critical; higher or lower
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: a priority is 0 (the idle task) or too high for FreeRTOS, or a NULL pointer
 *      - ESP_ERR_INVALID_STATE: not started, or the struct is in use
 */
esp_err_t memory_priority_register(memory_priority_t *entry, void *task, unsigned normal, unsigned pressed);

/**
 * Restores the task's priority and forgets the task. Call it before the task is deleted. The component
 * detects a task that ended without this call, and skips it.
 *
 * @return ESP_OK; ESP_ERR_NOT_FOUND: not registered
 */
esp_err_t memory_priority_unregister(memory_priority_t *entry);

/** Whether a critical level was active at the last periodic sample. */
bool memory_priority_is_pressed(void);

/** Copies the registered tasks that exist. @return number written to out */
size_t memory_priority_get_all(memory_priority_info_t *out, size_t max);

/** Bytes of internal memory that this component uses. */
size_t memory_priority_static_size(void);

#ifdef __cplusplus
}
#endif
