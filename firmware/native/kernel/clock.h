/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The virtual clock and its events. Its time does not advance by itself while code runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct native_event native_event_t;
struct native_event {
    void (*fire)(native_event_t *event);
    void *context;
    uint64_t when_us;
    uint64_t order; /* events at the same time fire in the order they were armed */
    native_event_t *next;
    bool armed;
};

/* Virtual time since reset, us. */
uint64_t native_now_us(void);
/* Sets the clock; only once, before any event is armed. */
void native_clock_set(uint64_t now_us);
/* Advances the clock without firing events. */
void native_clock_advance(uint64_t us);
/* Uptime that the scheduler and its ticks start with, us. */
void native_clock_set_uptime(uint64_t uptime_us);
uint64_t native_clock_uptime_us(void);
/* Moves the clock and all pending events forward by the same time. */
void native_clock_jump(uint64_t us);
/* Sum of all jumps, us: for a device that counts from its start time. */
uint64_t native_clock_jumped_us(void);
void native_event_arm(native_event_t *event, uint64_t when_us);
void native_event_cancel(native_event_t *event);
/* Time of the next event, us; UINT64_MAX if none is armed. */
uint64_t native_clock_next_us(void);
/* Fires the due events, as interrupts. */
void native_clock_fire_due(void);

bool native_in_isr(void);
void native_isr_enter(void);
void native_isr_exit(void);
