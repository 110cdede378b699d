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

/* Tasks waiting for one thing, in order of priority, then of arrival. */
typedef struct {
    native_task_t *head;
} native_wait_list_t;

#define NATIVE_WAIT_FOREVER UINT64_MAX

/* Waits until woken or until the deadline (us; NATIVE_WAIT_FOREVER). True when woken. list may be NULL. */
bool native_wait(native_wait_list_t *list, uint64_t deadline_us);
/* Makes the first task of the list ready; false if there is none. Does not switch: see native_preempt(). */
bool native_wake_one(native_wait_list_t *list);
/* Deadline of a wait of this number of ticks that starts now: the tick interrupt that ends it. */
uint64_t native_deadline(TickType_t ticks);
/* Switches to a higher ready task, if the context allows. */
void native_preempt(void);
/* Interrupts masked: nothing fires, nothing switches. */
bool native_in_critical(void);
/* Panics when interrupts have been masked for longer than the interrupt watchdog allows. */
void native_check_int_wdt(void);
bool native_scheduler_running(void);
native_task_t *native_current(void);
const char *native_current_name(void);
bool native_current_is_idle(void);
UBaseType_t native_priority(const native_task_t *task);
/* Priority inheritance: raise a mutex holder while a higher task waits, and put it back. */
void native_inherit(native_task_t *holder, UBaseType_t priority);
void native_disinherit(native_task_t *holder);
/* The task that lent its priority gave up: the priority lent by others remains. */
void native_disinherit_to(native_task_t *holder, UBaseType_t highest_waiting);
void native_mutex_count(native_task_t *holder, int change);
TaskHandle_t native_task_handle(const native_task_t *task);
/* Accounts virtual CPU time to the running task and returns whether an equal is ready (for time slicing). */
void native_account(uint64_t us);
bool native_equal_is_ready(void);
void native_yield(void);
uint64_t native_since_start_us(void);
/*
 * Runs main_task as the first task, named main, with the system's tasks around it. Never returns. idle_step:
 * waits for the next event while no task is ready.
 */
void native_scheduler_start(void (*main_task)(void *), uint32_t main_stack_address, uint32_t main_tcb_address,
                            void (*idle_step)(void)) __attribute__((noreturn));
/* Bounds of the running thread's host stack guard, to tell a stack overflow from a wild pointer. */
bool native_in_stack_guard(uintptr_t address);
native_task_t *native_task_from_handle(TaskHandle_t handle);
const char *native_task_name(const native_task_t *task);

/* Creates a task whose stack and TCB are charged elsewhere (at start). */
TaskHandle_t native_task_create_system(TaskFunction_t code, const char *name, uint32_t stack,
                                       UBaseType_t priority, BaseType_t core);
