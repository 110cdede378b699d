/*
 * The virtual clock. It stands still while code runs, moves by what code declares to take
 * (native_consume_us), and steps to the next event when all tasks wait; a step is held back so that virtual
 * time does not run ahead of host time × time_scale.
 */
#include "native.h"

#include <stdlib.h>

#define LEAD_MAX_NS 1000000  // busy code may be this far ahead of the host's clock before it is held back
#define LAG_MAX_NS 200000000 // a host that was away longer is not caught up with
#define BUSY_POLL_US 1000    // busy code looks for input this often

static uint64_t s_now_us;
static uint64_t s_order;
static native_event_t *s_events; // by time, then by order
static uint64_t s_anchor_us;
static int64_t s_anchor_ns;
static uint64_t s_polled_us;
static bool s_idle;

uint64_t native_now_us(void)
{
    return s_now_us;
}

void native_clock_init(uint64_t start_us)
{
    s_now_us = start_us;
    s_anchor_us = start_us;
    s_anchor_ns = native_host_now_ns();
    s_polled_us = start_us;
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

/* How long, in ns of host time, until virtual time may be when_us. */
static int64_t lead_ns(uint64_t when_us)
{
    if (g_native_params.time_scale <= 0) {
        return 0;
    }
    int64_t target =
        s_anchor_ns + (int64_t)((double)(when_us - s_anchor_us) * 1000.0 / g_native_params.time_scale);
    int64_t lead = target - native_host_now_ns();
    if (lead < -LAG_MAX_NS) {
        s_anchor_us = when_us;
        s_anchor_ns = native_host_now_ns();
        lead = 0;
    }
    return lead;
}

/* Virtual time of this moment on the host, within [now, limit]. */
static uint64_t host_virtual_us(uint64_t limit_us)
{
    if (g_native_params.time_scale <= 0) {
        return s_now_us;
    }
    double passed = (double)(native_host_now_ns() - s_anchor_ns) * g_native_params.time_scale / 1000.0;
    uint64_t now = passed > 0 ? s_anchor_us + (uint64_t)passed : s_anchor_us;
    now = now < s_now_us ? s_now_us : now;
    return now > limit_us ? limit_us : now;
}

/* While a task is busy: look for input now and then, and don't run ahead of the host. */
static void busy_pace(void)
{
    if (s_now_us - s_polled_us < BUSY_POLL_US) {
        return;
    }
    s_polled_us = s_now_us;
    int64_t lead = lead_ns(s_now_us);
    native_host_poll(lead > LEAD_MAX_NS ? lead : 0);
}

void native_consume_us(uint64_t us)
{
    native_alive();
    if (native_in_isr() || !native_scheduler_running()) {
        s_now_us += us;
        if (!native_in_isr()) {
            native_clock_fire_due();
        }
        return;
    }
    if (!native_in_critical() && !native_current_is_idle()) {
        native_faults_act();
    }
    while (us > 0) {
        if (native_in_critical()) {
            s_now_us += us; // what comes due meanwhile fires when interrupts are on again
            native_account(us);
            native_check_int_wdt();
            return;
        }
        uint64_t step = us;
        if (s_events != NULL && s_events->when_us - s_now_us < step) {
            step = s_events->when_us - s_now_us;
        }
        bool slice = native_equal_is_ready();
        uint64_t to_tick = NATIVE_TICK_US - native_since_start_us() % NATIVE_TICK_US;
        slice = slice && to_tick <= step;
        step = slice ? to_tick : step;
        s_now_us += step;
        us -= step;
        native_account(step);
        native_clock_fire_due();
        busy_pace();
        if (slice) {
            native_yield();
        } else {
            native_preempt();
        }
    }
}

void native_poll_cost(void)
{
    native_consume_us(1);
}

void native_clock_input_arrived(void)
{
    if (s_idle) {
        s_now_us = host_virtual_us(s_events != NULL ? s_events->when_us : UINT64_MAX);
    }
}

void native_clock_idle_step(void)
{
    native_alive();
    bool eventless = s_events == NULL; // then nothing will ever happen but input
    uint64_t next_us = eventless ? UINT64_MAX : s_events->when_us;
    int64_t lead = eventless ? -1 : lead_ns(next_us);
    s_idle = true;
    bool input = native_host_poll(eventless ? -1 : lead > 0 ? lead : 0);
    s_idle = false;
    s_polled_us = s_now_us;
    if (input || eventless) {
        return;
    }
    if (lead > 0 && lead_ns(next_us) > 0) {
        s_now_us = host_virtual_us(next_us); // woken early, by a signal
        return;
    }
    s_now_us = next_us;
    native_clock_fire_due();
}
