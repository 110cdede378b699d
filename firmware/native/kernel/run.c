/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Advances the virtual clock. It does not advance by itself while code runs. It advances by the CPU time that
 * code declares (native_consume_us), and steps to the next event when all tasks are blocked. A step waits
 * until virtual time no longer leads host time × time_scale.
 */
#include "kernel/run.h"

#include <stdlib.h>
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "kernel/clock.h"
#include "kernel/hooks.h"
#include "kernel/task.h"

#define LEAD_MAX_NS 1000000  // busy code pauses when it is this far ahead of the host's clock
#define LAG_MAX_NS 200000000 // longest pause of the host that virtual time catches up with
#define BUSY_POLL_US 1000    // polling interval for input while code is busy

static double s_time_scale;
static uint64_t s_anchor_us;
static int64_t s_anchor_ns;
static uint64_t s_polled_us;
static bool s_idle;
static uint64_t s_run_until_us = UINT64_MAX; // limit of a held clock
static bool s_run_requested;
static bool s_stands;

void native_run_init(uint64_t start_us, uint64_t uptime_us, double time_scale)
{
    native_clock_set_uptime(uptime_us);
    start_us += uptime_us;
    native_clock_set(start_us);
    s_time_scale = time_scale;
    s_anchor_us = start_us;
    s_anchor_ns = g_native_hooks.host_now_ns();
    s_polled_us = start_us;
}

void native_run_set_time_scale(double time_scale)
{
    s_time_scale = time_scale;
    s_anchor_us = native_now_us();
    s_anchor_ns = g_native_hooks.host_now_ns();
}

void native_run_jump(uint64_t us)
{
    native_clock_jump(us);
    s_anchor_us += us; // the host need not catch up
}

void native_clock_hold(void)
{
    s_run_until_us = native_now_us();
    s_run_requested = true; // the first answer reports that start-up has completed
}

void native_clock_run(uint64_t us)
{
    s_run_until_us = native_now_us() + us;
    s_run_requested = true;
}

bool native_clock_stands(void)
{
    return s_stands;
}

/* Called when all tasks wait and no event is due before the held clock's limit. Waits for the next request,
 * but first passes on the input that arrived before the last `run` request. */
static void stand_still(void)
{
    if (s_run_requested && g_native_hooks.host_poll(0)) {
        return;
    }
    if (native_now_us() < s_run_until_us) {
        native_clock_set(s_run_until_us);
    }
    if (s_run_requested) {
        s_run_requested = false;
        g_native_hooks.held();
    }
    s_stands = true;
    g_native_hooks.host_poll(-1);
    s_stands = false;
    s_polled_us = native_now_us();
}

/* Host time in ns until virtual time may reach when_us. */
static int64_t lead_ns(uint64_t when_us)
{
    if (s_time_scale <= 0) {
        return 0;
    }
    int64_t target = s_anchor_ns + (int64_t)((double)(when_us - s_anchor_us) * 1000.0 / s_time_scale);
    int64_t lead = target - g_native_hooks.host_now_ns();
    if (lead < -LAG_MAX_NS) {
        s_anchor_us = when_us;
        s_anchor_ns = g_native_hooks.host_now_ns();
        lead = 0;
    }
    return lead;
}

/* Virtual time that corresponds to the current host time, within [now, limit]. */
static uint64_t host_virtual_us(uint64_t limit_us)
{
    if (s_time_scale <= 0) {
        return native_now_us();
    }
    double passed = (double)(g_native_hooks.host_now_ns() - s_anchor_ns) * s_time_scale / 1000.0;
    uint64_t now = passed > 0 ? s_anchor_us + (uint64_t)passed : s_anchor_us;
    now = now < native_now_us() ? native_now_us() : now;
    return now > limit_us ? limit_us : now;
}

/* Polls for input and limits the lead over the host while a task is busy. */
static void busy_pace(void)
{
    if (native_now_us() - s_polled_us < BUSY_POLL_US) {
        return;
    }
    s_polled_us = native_now_us();
    int64_t lead = lead_ns(native_now_us());
    g_native_hooks.host_poll(lead > LEAD_MAX_NS ? lead : 0);
}

void native_consume_us(uint64_t us)
{
    g_native_hooks.alive();
    if (native_in_isr() || !native_scheduler_running()) {
        native_clock_advance(us);
        if (!native_in_isr()) {
            native_clock_fire_due();
        }
        return;
    }
    if (!native_in_critical() && !native_current_is_idle()) {
        g_native_hooks.act();
    }
    while (us > 0) {
        if (native_in_critical()) {
            native_clock_advance(us); // events that become due fire when interrupts are on again
            native_account(us);
            native_check_int_wdt();
            return;
        }
        uint64_t step = us;
        uint64_t next_us = native_clock_next_us();
        step = next_us - native_now_us() < step ? next_us - native_now_us() : step;
        bool slice = native_equal_is_ready();
        uint64_t to_tick = NATIVE_TICK_US - native_since_start_us() % NATIVE_TICK_US;
        slice = slice && to_tick <= step;
        step = slice ? to_tick : step;
        native_clock_advance(step);
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
        native_clock_set(host_virtual_us(native_clock_next_us()));
    }
}

void native_clock_idle_step(void)
{
    g_native_hooks.alive();
    uint64_t next_us = native_clock_next_us();
    if (next_us > s_run_until_us) {
        stand_still();
        return;
    }
    bool eventless = next_us == UINT64_MAX; // only input can wake a task
    int64_t lead = eventless ? -1 : lead_ns(next_us);
    s_idle = true;
    bool input = g_native_hooks.host_poll(eventless ? -1 : lead > 0 ? lead : 0);
    s_idle = false;
    s_polled_us = native_now_us();
    if (input || eventless) {
        return;
    }
    if (lead > 0 && lead_ns(next_us) > 0) {
        native_clock_set(host_virtual_us(next_us)); // a signal ended the wait early
        return;
    }
    native_clock_set(next_us);
    native_clock_fire_due();
}

void vTaskDelay(const TickType_t xTicksToDelay)
{
    if (xTicksToDelay == 0) {
        native_poll_cost();
        native_yield();
        return;
    }
    native_wait(NULL, native_deadline(xTicksToDelay));
}

void vPortYield(void)
{
    native_poll_cost();
    native_yield();
}

TickType_t xTaskGetTickCount(void)
{
    native_poll_cost();
    return xTaskGetTickCountFromISR();
}
