/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The mutex guards the list: a task cannot unregister, and then be deleted, while its priority is being set.
 * vTaskPrioritySet() changes the base priority; FreeRTOS keeps an inherited priority.
 */
#include "memory_priority.h"

#include <stdatomic.h>
#include <string.h>
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "priority_list.h"

_Static_assert(MEMORY_PRIORITY_NAME_SIZE >= configMAX_TASK_NAME_LEN, "names are compared as a whole");

static struct {
    memory_observer_t observer;
    memory_priority_t *first;
    SemaphoreHandle_t mutex; /* NULL: not started */
    StaticSemaphore_t mutex_memory;
    atomic_bool is_pressed;
} s_priority;

size_t memory_priority_static_size(void)
{
    return sizeof(s_priority);
}

/* A copy, because the name is freed with the task. */
static void copy_name(char to[MEMORY_PRIORITY_NAME_SIZE], const char *name)
{
    strncpy(to, name, MEMORY_PRIORITY_NAME_SIZE - 1);
    to[MEMORY_PRIORITY_NAME_SIZE - 1] = '\0';
}

static void lock(void)
{
    xSemaphoreTake(s_priority.mutex, portMAX_DELAY);
}

static void unlock(void)
{
    xSemaphoreGive(s_priority.mutex);
}

/* The handle of a deleted task must not be used, so it is compared with the handles of all existing tasks. */
static bool exists(const memory_priority_t *entry)
{
    return xTaskGetHandle(entry->name) == (TaskHandle_t)entry->task;
}

static void apply(memory_priority_t *entry, bool is_pressed)
{
    unsigned priority;
    if (priority_change(entry, is_pressed, &priority) && exists(entry)) {
        vTaskPrioritySet(entry->task, priority);
    }
}

static void observe(const memory_observation_t *observation)
{
    if (atomic_load(&s_priority.is_pressed) == observation->critical) {
        return;
    }
    lock();
    atomic_store(&s_priority.is_pressed, observation->critical);
    for (memory_priority_t *entry = s_priority.first; entry != NULL; entry = entry->next) {
        apply(entry, observation->critical);
    }
    unlock();
}

esp_err_t memory_priority_start(void)
{
    if (s_priority.mutex != NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    s_priority.observer.observe = observe;
    s_priority.mutex = xSemaphoreCreateMutexStatic(&s_priority.mutex_memory);
    esp_err_t err = memory_manager_register_observer(&s_priority.observer);
    if (err != ESP_OK) {
        vSemaphoreDelete(s_priority.mutex);
        s_priority.mutex = NULL; /* a later start may succeed */
    }
    return err;
}

esp_err_t memory_priority_register(memory_priority_t *entry, void *task, unsigned normal, unsigned pressed)
{
    if (entry == NULL || task == NULL || !priority_is_valid(normal, configMAX_PRIORITIES) ||
        !priority_is_valid(pressed, configMAX_PRIORITIES)) {
        return ESP_ERR_INVALID_ARG;
    }
    if (s_priority.mutex == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    lock();
    bool added = priority_add(&s_priority.first, entry);
    if (added) {
        entry->task = task;
        copy_name(entry->name, pcTaskGetName(task));
        entry->normal = normal;
        entry->pressed = pressed;
        entry->is_pressed = false;
        apply(entry, atomic_load(&s_priority.is_pressed));
    }
    unlock();
    return added ? ESP_OK : ESP_ERR_INVALID_STATE;
}

esp_err_t memory_priority_unregister(memory_priority_t *entry)
{
    if (s_priority.mutex == NULL) {
        return ESP_ERR_NOT_FOUND;
    }
    lock();
    bool removed = priority_remove(&s_priority.first, entry);
    if (removed) {
        apply(entry, false);
    }
    unlock();
    return removed ? ESP_OK : ESP_ERR_NOT_FOUND;
}

bool memory_priority_is_pressed(void)
{
    return atomic_load(&s_priority.is_pressed);
}

size_t memory_priority_get_all(memory_priority_info_t *out, size_t max)
{
    size_t count = 0;
    if (s_priority.mutex == NULL) {
        return 0;
    }
    lock();
    for (const memory_priority_t *entry = s_priority.first; entry != NULL && count < max;
         entry = entry->next) {
        if (exists(entry)) {
            out[count] = (memory_priority_info_t){
                .normal = entry->normal,
                .pressed = entry->pressed,
                .now = uxTaskPriorityGet(entry->task),
                .is_pressed = entry->is_pressed,
            };
            copy_name(out[count++].name, entry->name);
        }
    }
    unlock();
    return count;
}
