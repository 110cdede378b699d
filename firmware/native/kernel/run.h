/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Running in virtual time: the CPU time of code, and pacing by the host's clock.
 */
#pragma once

#include <stdint.h>

/* time_scale: virtual seconds per host second; 0: as fast as possible. */
void native_run_init(uint64_t start_us, double time_scale);
/* Changes the time scale from this moment on. */
void native_run_set_time_scale(double time_scale);
/* Declares the CPU time of the running code. Meanwhile due events fire, tasks of higher priority preempt it,
 * and tasks of equal priority share the CPU by ticks. */
void native_consume_us(uint64_t us);
/* Declares 1 us, the cost of reading a clock or a state, so that a loop that polls it ends. */
void native_poll_cost(void);
/* To be called before input is passed on: if all tasks are blocked, advances the clock to the host's time. */
void native_clock_input_arrived(void);
/* For the idle task: waits, paced by host time, for the next event or input, and fires due events. */
void native_clock_idle_step(void);
