/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Running in virtual time: CPU time of code, and the lead of the clock over the host's.
 */
#pragma once

#include <stdint.h>

/* time_scale: virtual seconds per host second; 0: as fast as possible. */
void native_run_init(uint64_t start_us, double time_scale);
/* Changes the time scale from this moment on. */
void native_run_set_time_scale(double time_scale);
/* The running code takes this long. Due events fire, higher tasks preempt, equals share by ticks. */
void native_consume_us(uint64_t us);
/* Cost of reading a clock or a state in a loop that may poll it: 1 us. */
void native_poll_cost(void);
/* Called before input is passed on: if all tasks wait, the clock advances to the present. */
void native_clock_input_arrived(void);
/* For the idle task: waits (paced) for the next event or input and fires it. */
void native_clock_idle_step(void);
