/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The virtual clock and its events. run.c advances it.
 */
#include "kernel/clock.h"

#include <stddef.h>

static uint64_t s_now_us;
static uint64_t s_order;
static uint64_t s_uptime_us;
static uint64_t s_jumped_us;
static native_event_t *s_events; // by time, then by order
static int s_isr_depth;

uint64_t native_now_us(void)
{
    return s_now_us;
}

void native_clock_set(uint64_t now_us)
{
    s_now_us = now_us;
}

void native_clock_advance(uint64_t us)
{
    s_now_us += us;
}

void native_clock_set_uptime(uint64_t uptime_us)
{
    s_uptime_us = uptime_us;
}

uint64_t native_clock_uptime_us(void)
{
    return s_uptime_us;
}

void native_clock_jump(uint64_t us)
{
    s_now_us += us;
    s_jumped_us += us;
    for (native_event_t *event = s_events; event != NULL; event = event->next) {
        event->when_us += us;
    }
}

uint64_t native_clock_jumped_us(void)
{
    return s_jumped_us;
}

uint64_t native_clock_next_us(void)
{
    return s_events != NULL ? s_events->when_us : UINT64_MAX;
}

bool native_in_isr(void)
{
    return s_isr_depth > 0;
}

void native_isr_enter(void)
{
    s_isr_depth++;
}

void native_isr_exit(void)
{
    s_isr_depth--;
}

void native_event_cancel(native_event_t *event)
{
    if (!event->armed) {
        return;
    }
    native_event_t **link = &s_events;
    while (*link != event) {
        link = &(*link)->next;
    }
    *link = event->next;
    event->armed = false;
}

void native_event_arm(native_event_t *event, uint64_t when_us)
{
    native_event_cancel(event);
    event->when_us = when_us < s_now_us ? s_now_us : when_us;
    event->order = s_order++;
    native_event_t **link = &s_events;
    while (*link != NULL && (*link)->when_us <= event->when_us) {
        link = &(*link)->next;
    }
    event->next = *link;
    *link = event;
    event->armed = true;
}

void native_clock_fire_due(void)
{
    while (s_events != NULL && s_events->when_us <= s_now_us) {
        native_event_t *event = s_events;
        s_events = event->next;
        event->armed = false;
        native_isr_enter();
        event->fire(event);
        native_isr_exit();
    }
}
