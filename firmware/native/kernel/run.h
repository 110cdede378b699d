/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Running in virtual time: the CPU time of code, and pacing by the host's clock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* time_scale: virtual seconds per host second; 0: as fast as possible. uptime_us: uptime that the scheduler
 * and its ticks start with. */
void native_run_init(uint64_t start_us, uint64_t uptime_us, double time_scale);
/* Holds the clock: from now on it stops while all tasks wait, until native_clock_run(). Calls the hook `held`
 * when the clock stops for the first time. */
void native_clock_hold(void);
/* Lets a held clock run for this long, then calls the hook `held`. */
void native_clock_run(uint64_t us);
/* True while a held clock is stopped. UART input then waits for the next run, so that a run does not depend
 * on the host's timing. */
bool native_clock_stands(void);
/* Changes the time scale from this moment on. */
void native_run_set_time_scale(double time_scale);
/* Moves the clock and all pending deadlines forward by the same time: nothing happens in that time. */
void native_run_jump(uint64_t us);
/* Declares the CPU time of the running code. During that time due events fire, tasks of higher priority
 * preempt it, and tasks of equal priority share the CPU by ticks. */
void native_consume_us(uint64_t us);
/* Declares 1 us, the cost of reading a clock or a state, so that a loop that polls it ends. */
void native_poll_cost(void);
/* Call it before passing on input: if all tasks are blocked, advances the clock to the host's time. */
void native_clock_input_arrived(void);
/* For the idle task: waits, paced by host time, for the next event or input, and fires due events. */
void native_clock_idle_step(void);
