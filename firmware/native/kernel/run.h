/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Running in virtual time: what code costs, and how far the clock may be ahead of the host's.
 */
#pragma once

#include <stdint.h>

/* time_scale: virtual seconds per host second; 0: as fast as possible. */
void native_run_init(uint64_t start_us, double time_scale);
/* The running code takes this long. Due events fire, higher tasks preempt, equals share by ticks. */
void native_consume_us(uint64_t us);
/* A look at a clock or a state in a loop that may be waiting for it: 1 us. */
void native_poll_cost(void);
/* Input is about to be handed in: if all tasks wait, the clock moves up to this moment. */
void native_clock_input_arrived(void);
/* For the idle task: waits (paced) for the next event or input and fires it. */
void native_clock_idle_step(void);
