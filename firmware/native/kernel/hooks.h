/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Hooks that the kernel uses to call the layers above it. Start-up registers them once, before the first
 * task exists. The kernel itself includes no header of chip/ or idf/.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct native_task native_task_t;

typedef struct {
    /* Monotonic host time, ns. */
    int64_t (*host_now_ns)(void);
    /* Waits at most timeout_ns (0: polls, negative: no limit) for input and passes it on; true if input was
     * received. */
    bool (*host_poll)(int64_t timeout_ns);
    /* The held clock has reached its limit (native_clock_run). */
    void (*held)(void);
    /* Ends the process. */
    void (*host_exit)(int status) __attribute__((noreturn));
    /* A failed assertion of the kernel. */
    void (*panic)(const char *details) __attribute__((noreturn));
    /* abort() was called at pc. note: details that the chip would not print, or NULL. */
    void (*abort_at)(const void *pc, const char *note) __attribute__((noreturn));
    /* Interrupts were masked for longer than the interrupt watchdog allows. */
    void (*int_wdt)(void) __attribute__((noreturn));
    /* Called by each kernel function, as a sign that the program does not hang. */
    void (*alive)(void);
    /* Called in a running task with interrupts on, to trigger requested faults. */
    void (*act)(void);
    /* Called when the idle task of this core has run and freed the deleted tasks. */
    void (*idle)(int core);
    /* Called when a task is deleted; its memory may still be in use. */
    void (*task_deleted)(native_task_t *task);
    /* Called at the beginning and at the end of a task's thread. */
    void (*thread_begin)(void);
    void (*thread_end)(void);
} native_hooks_t;

extern native_hooks_t g_native_hooks;
