/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tasks and the scheduler: interface for the other parts of the host build.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "kernel/hooks.h"

#define NATIVE_TICK_US (1000000u / configTICK_RATE_HZ)

/* Tasks that wait for the same condition, ordered by priority, then by arrival. */
typedef struct {
    native_task_t *head;
} native_wait_list_t;

#define NATIVE_WAIT_FOREVER UINT64_MAX

/* Blocks the task until it is woken, or until the deadline (us, or NATIVE_WAIT_FOREVER). True if woken. list
 * may be NULL. */
bool native_wait(native_wait_list_t *list, uint64_t deadline_us);
/* Makes the first task of the list ready; false if there is none. Does not switch: see native_preempt(). */
bool native_wake_one(native_wait_list_t *list);
/* Deadline of a wait of this number of ticks from now: time of the tick interrupt that ends it, us. */
uint64_t native_deadline(TickType_t ticks);
/* Switches to a ready task of higher priority, if the context permits. */
void native_preempt(void);
/* True if interrupts are masked: no event fires, and no task switch happens. */
bool native_in_critical(void);
/* Panics if interrupts have been masked for longer than the interrupt watchdog allows. */
void native_check_int_wdt(void);
bool native_scheduler_running(void);
native_task_t *native_current(void);
const char *native_current_name(void);
bool native_current_is_idle(void);
UBaseType_t native_priority(const native_task_t *task);
/* Priority inheritance: raises a mutex's holder while a task of higher priority waits, and restores it. */
void native_inherit(native_task_t *holder, UBaseType_t priority);
void native_disinherit(native_task_t *holder);
/* Lowers the holder after a waiting task's timeout, to the priority lent by the remaining tasks. */
void native_disinherit_to(native_task_t *holder, UBaseType_t highest_waiting);
void native_mutex_count(native_task_t *holder, int change);
TaskHandle_t native_task_handle(const native_task_t *task);
/* Adds virtual CPU time to the running task's run time. */
void native_account(uint64_t us);
bool native_equal_is_ready(void);
void native_yield(void);
uint64_t native_since_start_us(void);
/*
 * Starts the scheduler with main_task as the task "main", and the system's tasks. Never returns. idle_step:
 * waits for the next event while no task is ready.
 */
void native_scheduler_start(void (*main_task)(void *), uint32_t main_stack_address, uint32_t main_tcb_address,
                            void (*idle_step)(void)) __attribute__((noreturn));
/* True if address is in the guard page of the running thread's host stack: the fault is a stack overflow, not
 * a wild pointer. */
bool native_in_stack_guard(uintptr_t address);
/* True if address is in the running thread's host stack. */
bool native_in_stack(uintptr_t address);
native_task_t *native_task_from_handle(TaskHandle_t handle);
const char *native_task_name(const native_task_t *task);

/* Creates a task whose stack and TCB are already charged (at startup). */
TaskHandle_t native_task_create_system(TaskFunction_t code, const char *name, uint32_t stack,
                                       UBaseType_t priority, BaseType_t core);
