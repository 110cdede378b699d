/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Newlib's locks: each is a FreeRTOS mutex, allocated at its first use.
 */
#include "kernel/lock.h"

#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "kernel/clock.h"
#include "kernel/hooks.h"
#include "kernel/queue.h"
#include "kernel/task.h"

void native_lock_ensure(native_lock_t *lock)
{
    if (lock->mutex != NULL || !native_scheduler_running()) {
        return;
    }
    if (lock->precharged) {
        lock->mutex = native_mutex_uncharged(lock->recursive);
    } else {
        lock->mutex = lock->recursive ? xSemaphoreCreateRecursiveMutex() : xSemaphoreCreateMutex();
        if (lock->mutex == NULL) {
            g_native_hooks.abort_at(__builtin_return_address(0), "no memory for a newlib lock");
        }
    }
}

/* Aborts if interrupts are masked, as newlib does even if the lock is free. This is what happens to printf in
 * a critical section. */
static void require_task_context(void)
{
    if (native_in_isr() || native_in_critical()) {
        g_native_hooks.abort_at(__builtin_return_address(0),
                                "a newlib lock was requested in an interrupt or a critical section");
    }
}

void native_lock_acquire(native_lock_t *lock)
{
    native_lock_ensure(lock);
    if (lock->mutex == NULL) {
        return; // no contention before the scheduler is running
    }
    require_task_context();
    if (lock->recursive) {
        xSemaphoreTakeRecursive(lock->mutex, portMAX_DELAY);
    } else {
        xSemaphoreTake(lock->mutex, portMAX_DELAY);
    }
}

void native_lock_release(native_lock_t *lock)
{
    if (lock->mutex == NULL) {
        return;
    }
    if (lock->recursive) {
        xSemaphoreGiveRecursive(lock->mutex);
    } else {
        xSemaphoreGive(lock->mutex);
    }
}
