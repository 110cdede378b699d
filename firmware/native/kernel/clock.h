/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The virtual clock: its time stands still while code runs; events are due at a later time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct native_event native_event_t;
struct native_event {
    void (*fire)(native_event_t *event);
    void *context;
    uint64_t when_us;
    uint64_t order; /* events of the same time fire in the order they were armed */
    native_event_t *next;
    bool armed;
};

/* us since reset */
uint64_t native_now_us(void);
/* The clock is set once, before any event is armed. */
void native_clock_set(uint64_t now_us);
/* Moves the clock forward; fires nothing. */
void native_clock_advance(uint64_t us);
void native_event_arm(native_event_t *event, uint64_t when_us);
void native_event_cancel(native_event_t *event);
/* Time of the next event, us; UINT64_MAX without one. */
uint64_t native_clock_next_us(void);
/* Fires what is due now, as interrupts. */
void native_clock_fire_due(void);

bool native_in_isr(void);
void native_isr_enter(void);
void native_isr_exit(void);
