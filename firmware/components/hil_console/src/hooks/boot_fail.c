/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "boot_fail.h"

#include <string.h>

#include "esp_attr.h"
#include "heap_fail.h"
#include "idf_calls.h"

/* First call in app_main(). */
void __real_telemetry_mark_start(void);
void __wrap_telemetry_mark_start(void);

#define ARMED 0xB007FA11u /* unlikely by chance: after power-on, RTC memory is random */

typedef struct {
    uint32_t state;
    uint32_t is_call; /* 0: an allocation */
    uint32_t call;    /* index for idf_calls_name() */
    uint32_t caps;
    uint32_t nth;
    uint32_t count;
    uint32_t also;
} plan_t;

static RTC_NOINIT_ATTR plan_t s_plan;
static plan_t s_now; /* plan of this boot */

void boot_fail_allocation(uint32_t caps, uint32_t nth, uint32_t count, uint32_t also)
{
    s_plan = (plan_t){.state = ARMED, .caps = caps, .nth = nth, .count = count, .also = also};
}

bool boot_fail_call(const char *name, uint32_t nth, uint32_t count)
{
    const char *known;
    for (uint32_t call = 0; (known = idf_calls_name(call)) != NULL; call++) {
        if (strcmp(known, name) == 0) {
            s_plan = (plan_t){.state = ARMED, .is_call = true, .call = call, .nth = nth, .count = count};
            return true;
        }
    }
    return false;
}

void boot_fail_disarm(void)
{
    s_plan.state = 0;
}

bool boot_fail_armed(void)
{
    return s_plan.state == ARMED;
}

void __wrap_telemetry_mark_start(void)
{
    __real_telemetry_mark_start();
    s_now = s_plan;
    boot_fail_disarm(); /* before anything fails, so that a crash does not repeat it */
    if (s_now.state == ARMED && s_now.is_call && idf_calls_name(s_now.call) != NULL) {
        idf_calls_fail(idf_calls_name(s_now.call), s_now.nth, s_now.count);
    }
}

void boot_fail_begin_allocations(void)
{
    if (s_now.state == ARMED && !s_now.is_call) {
        heap_fail_arm(s_now.caps, s_now.nth, s_now.count, s_now.also);
    }
}
