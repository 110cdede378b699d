/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Event groups.
 */
#include <assert.h>
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/event_groups.h"
#include "freertos/task.h"
#include "kernel/object.h"
#include "kernel/task.h"

typedef struct waiter waiter_t;
struct waiter {
    waiter_t *next;
    EventBits_t wanted;
    bool all;
    bool clear;
    bool met;
    EventBits_t bits; // the group's bits when the condition was met
    native_wait_list_t list;
};

typedef struct {
    EventBits_t bits;
    waiter_t *waiters; // in order of arrival
    bool is_static;
} group_t;

static group_t *group_of(EventGroupHandle_t handle, const char *function)
{
    return native_object_get(handle, NATIVE_EVENT_GROUP, function);
}

static EventGroupHandle_t create(void *block, bool is_static)
{
    if (block == NULL) {
        return NULL;
    }
    group_t *group = native_host_alloc(sizeof *group);
    group->is_static = is_static;
    native_object_bind(block, NATIVE_EVENT_GROUP, group);
    return block;
}

EventGroupHandle_t xEventGroupCreate(void)
{
    return create(heap_caps_malloc(NATIVE_SIZE_EVENT_GROUP, NATIVE_KERNEL_CAPS), false);
}

EventGroupHandle_t xEventGroupCreateStatic(StaticEventGroup_t *pxEventGroupBuffer)
{
    assert(pxEventGroupBuffer != NULL);
    return create(pxEventGroupBuffer, true);
}

static bool met(EventBits_t bits, EventBits_t wanted, bool all)
{
    return all ? (bits & wanted) == wanted : (bits & wanted) != 0;
}

static void unlink_waiter(group_t *group, waiter_t *waiter)
{
    waiter_t **link = &group->waiters;
    while (*link != waiter) {
        link = &(*link)->next;
    }
    *link = waiter->next;
}

static EventBits_t set_bits(group_t *group, EventBits_t bits)
{
    group->bits |= bits;
    EventBits_t clear = 0;
    waiter_t *next;
    for (waiter_t *waiter = group->waiters; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (met(group->bits, waiter->wanted, waiter->all)) {
            waiter->met = true;
            waiter->bits = group->bits;
            clear |= waiter->clear ? waiter->wanted : 0;
            unlink_waiter(group, waiter);
            native_wake_one(&waiter->list);
        }
    }
    group->bits &= ~clear;
    return group->bits;
}

EventBits_t xEventGroupSetBits(EventGroupHandle_t xEventGroup, const EventBits_t uxBitsToSet)
{
    assert((uxBitsToSet & 0xff000000u) == 0);
    EventBits_t bits = set_bits(group_of(xEventGroup, __func__), uxBitsToSet);
    native_preempt();
    return bits;
}

EventBits_t xEventGroupClearBits(EventGroupHandle_t xEventGroup, const EventBits_t uxBitsToClear)
{
    group_t *group = group_of(xEventGroup, __func__);
    EventBits_t before = group->bits;
    group->bits &= ~uxBitsToClear;
    return before;
}

EventBits_t xEventGroupWaitBits(EventGroupHandle_t xEventGroup, const EventBits_t uxBitsToWaitFor,
                                const BaseType_t xClearOnExit, const BaseType_t xWaitForAllBits,
                                TickType_t xTicksToWait)
{
    group_t *group = group_of(xEventGroup, __func__);
    assert(uxBitsToWaitFor != 0 && (uxBitsToWaitFor & 0xff000000u) == 0);
    bool clear = xClearOnExit != pdFALSE;
    EventBits_t bits = group->bits;
    if (!met(bits, uxBitsToWaitFor, xWaitForAllBits != pdFALSE)) {
        if (xTicksToWait == 0) {
            return bits;
        }
        waiter_t waiter = {.wanted = uxBitsToWaitFor, .all = xWaitForAllBits != pdFALSE, .clear = clear};
        waiter_t **link = &group->waiters;
        while (*link != NULL) {
            link = &(*link)->next;
        }
        *link = &waiter;
        native_wait(&waiter.list, native_deadline(xTicksToWait));
        if (waiter.met) {
            return waiter.bits; // the task that set the bits has already cleared them
        }
        unlink_waiter(group, &waiter);
        bits = group->bits;
        if (!met(bits, uxBitsToWaitFor, waiter.all)) {
            return bits;
        }
    }
    if (clear) {
        group->bits &= ~uxBitsToWaitFor;
    }
    return bits;
}
