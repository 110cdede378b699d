/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Queues, semaphores and mutexes.
 */
#include "kernel/queue.h"

#include <assert.h>
#include <string.h>
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "kernel/hooks.h"
#include "kernel/object.h"
#include "kernel/task.h"

typedef struct {
    QueueHandle_t handle;
    void *charged_storage; // queues created WithCaps: the block charged for the items
    uint8_t *items;        // item_size * length bytes
    uint8_t *own_items;    // items if this object must free them, otherwise NULL
    UBaseType_t length;
    UBaseType_t item_size;
    UBaseType_t count;
    UBaseType_t first;
    uint8_t type;
    bool is_static;
    native_task_t *holder; // only for mutexes
    UBaseType_t recursion;
    native_wait_list_t senders;
    native_wait_list_t receivers;
} queue_t;

static queue_t *queue_of(QueueHandle_t handle, const char *function)
{
    return native_object_get(handle, NATIVE_QUEUE, function);
}

static bool is_mutex(const queue_t *queue)
{
    return queue->type == queueQUEUE_TYPE_MUTEX || queue->type == queueQUEUE_TYPE_RECURSIVE_MUTEX;
}

static QueueHandle_t create(void *block, UBaseType_t length, UBaseType_t item_size, uint8_t *storage,
                            uint8_t type, bool is_static)
{
    queue_t *queue = native_host_alloc(sizeof *queue);
    *queue = (queue_t){
        .handle = block,
        .length = length,
        .item_size = item_size,
        .type = type,
        .is_static = is_static,
    };
    if (item_size > 0) {
        queue->own_items = storage == NULL ? native_host_alloc((size_t)length * item_size) : NULL;
        queue->items = storage == NULL ? queue->own_items : storage;
    }
    if (is_mutex(queue)) {
        queue->count = 1;
    }
    native_object_bind(block, NATIVE_QUEUE, queue);
    return block;
}

/* As on the chip, one block is charged for the object and its items. The items are in host memory, because
 * they may contain host pointers. */
QueueHandle_t xQueueGenericCreate(const UBaseType_t uxQueueLength, const UBaseType_t uxItemSize,
                                  const uint8_t ucQueueType)
{
    assert(uxQueueLength > 0);
    void *block =
        heap_caps_malloc(NATIVE_SIZE_QUEUE + (size_t)uxQueueLength * uxItemSize, NATIVE_KERNEL_CAPS);
    return block == NULL ? NULL : create(block, uxQueueLength, uxItemSize, NULL, ucQueueType, false);
}

QueueHandle_t xQueueGenericCreateStatic(const UBaseType_t uxQueueLength, const UBaseType_t uxItemSize,
                                        uint8_t *pucQueueStorage, StaticQueue_t *pxStaticQueue,
                                        const uint8_t ucQueueType)
{
    assert(uxQueueLength > 0);
    assert(pxStaticQueue != NULL);
    assert((pucQueueStorage != NULL) == (uxItemSize != 0));
    return create(pxStaticQueue, uxQueueLength, uxItemSize, pucQueueStorage, ucQueueType, true);
}

QueueHandle_t xQueueCreateMutex(const uint8_t ucQueueType)
{
    void *block = heap_caps_malloc(NATIVE_SIZE_QUEUE, NATIVE_KERNEL_CAPS);
    return block == NULL ? NULL : create(block, 1, 0, NULL, ucQueueType, false);
}

QueueHandle_t xQueueCreateMutexStatic(const uint8_t ucQueueType, StaticQueue_t *pxStaticQueue)
{
    assert(pxStaticQueue != NULL);
    return create(pxStaticQueue, 1, 0, NULL, ucQueueType, true);
}

QueueHandle_t native_mutex_uncharged(bool recursive)
{
    return create(native_host_alloc(sizeof(StaticQueue_t)), 1, 0, NULL,
                  recursive ? queueQUEUE_TYPE_RECURSIVE_MUTEX : queueQUEUE_TYPE_MUTEX, true);
}

QueueHandle_t native_queue_create_with_caps(UBaseType_t length, UBaseType_t item_size,
                                            UBaseType_t charged_item_size, UBaseType_t caps)
{
    void *block = heap_caps_malloc(NATIVE_SIZE_QUEUE, caps);
    void *storage = item_size == 0 ? NULL : heap_caps_malloc((size_t)length * charged_item_size, caps);
    if (block == NULL || (item_size > 0 && storage == NULL)) {
        heap_caps_free(storage);
        heap_caps_free(block);
        return NULL;
    }
    create(block, length, item_size, NULL, queueQUEUE_TYPE_BASE, true);
    queue_of(block, __func__)->charged_storage = storage;
    return block;
}

SemaphoreHandle_t xSemaphoreCreateGenericWithCaps(UBaseType_t uxMaxCount, UBaseType_t uxInitialCount,
                                                  const uint8_t ucQueueType, UBaseType_t uxMemoryCaps)
{
    void *block = heap_caps_malloc(NATIVE_SIZE_QUEUE, uxMemoryCaps);
    if (block == NULL) {
        return NULL;
    }
    bool counting = ucQueueType == queueQUEUE_TYPE_COUNTING_SEMAPHORE;
    create(block, counting ? uxMaxCount : 1, 0, NULL, ucQueueType, true);
    if (counting) {
        queue_of(block, __func__)->count = uxInitialCount;
    }
    return block;
}

void vQueueDelete(QueueHandle_t xQueue)
{
    queue_t *queue = queue_of(xQueue, __func__);
    native_object_unbind(xQueue);
    if (!queue->is_static) {
        heap_caps_free(xQueue);
    }
    native_host_free(queue->own_items);
    native_host_free(queue);
}

void vQueueDeleteWithCaps(QueueHandle_t xQueue)
{
    void *storage = queue_of(xQueue, __func__)->charged_storage;
    vQueueDelete(xQueue);
    heap_caps_free(xQueue);
    heap_caps_free(storage);
}

void vSemaphoreDeleteWithCaps(SemaphoreHandle_t xSemaphore)
{
    vQueueDelete(xSemaphore);
    heap_caps_free(xSemaphore);
}

/* --- Sending --- */

static void put(queue_t *queue, const void *item, BaseType_t position)
{
    if (queue->item_size == 0) {
        queue->count++;
        return;
    }
    UBaseType_t slot;
    if (position == queueOVERWRITE && queue->count == queue->length) {
        slot = queue->first; // xQueueOverwrite() is only for queues of length 1
        queue->count--;
    } else if (position == queueSEND_TO_FRONT) {
        queue->first = (queue->first + queue->length - 1) % queue->length;
        slot = queue->first;
    } else {
        slot = (queue->first + queue->count) % queue->length;
    }
    memcpy(queue->items + (size_t)slot * queue->item_size, item, queue->item_size);
    queue->count++;
}

/* Releases a mutex and ends its holder's priority inheritance. */
static void let_go(queue_t *queue)
{
    if (queue->holder == NULL) {
        return;
    }
    if (queue->holder != native_current()) {
        g_native_hooks.panic("assert failed: xTaskPriorityDisinherit tasks.c (pxTCB == pxCurrentTCBs[ 0 ]): "
                             "a task gave a mutex that it does not hold");
    }
    native_task_t *holder = queue->holder;
    queue->holder = NULL;
    native_mutex_count(holder, -1);
    native_disinherit(holder);
}

BaseType_t xQueueGenericSend(QueueHandle_t xQueue, const void *const pvItemToQueue, TickType_t xTicksToWait,
                             const BaseType_t xCopyPosition)
{
    queue_t *queue = queue_of(xQueue, __func__);
    assert(pvItemToQueue != NULL || queue->item_size == 0);
    assert(xCopyPosition != queueOVERWRITE || queue->length == 1);
    uint64_t deadline = native_deadline(xTicksToWait);
    bool expired = xTicksToWait == 0;
    while (queue->count >= queue->length && xCopyPosition != queueOVERWRITE) {
        if (expired) {
            return errQUEUE_FULL;
        }
        expired = !native_wait(&queue->senders, deadline);
    }
    if (is_mutex(queue)) {
        let_go(queue);
    }
    put(queue, pvItemToQueue, xCopyPosition);
    native_wake_one(&queue->receivers);
    native_preempt();
    return pdPASS;
}

/* A ready task of higher priority runs when the interrupt ends, even if the caller requests no switch. */
static void wake_from_isr(native_wait_list_t *list, BaseType_t *woken)
{
    bool higher = list->head != NULL && native_priority(list->head) > native_priority(native_current());
    native_wake_one(list);
    if (higher && woken != NULL) {
        *woken = pdTRUE;
    }
}

BaseType_t xQueueGenericSendFromISR(QueueHandle_t xQueue, const void *const pvItemToQueue,
                                    BaseType_t *const pxHigherPriorityTaskWoken,
                                    const BaseType_t xCopyPosition)
{
    queue_t *queue = queue_of(xQueue, __func__);
    if (queue->count >= queue->length && xCopyPosition != queueOVERWRITE) {
        return errQUEUE_FULL;
    }
    put(queue, pvItemToQueue, xCopyPosition);
    wake_from_isr(&queue->receivers, pxHigherPriorityTaskWoken);
    return pdPASS;
}

BaseType_t xQueueGiveFromISR(QueueHandle_t xQueue, BaseType_t *const pxHigherPriorityTaskWoken)
{
    queue_t *queue = queue_of(xQueue, __func__);
    assert(queue->item_size == 0);
    assert(!(is_mutex(queue) && queue->holder != NULL));
    return xQueueGenericSendFromISR(xQueue, NULL, pxHigherPriorityTaskWoken, queueSEND_TO_BACK);
}

/* --- Receiving --- */

static void copy_first(const queue_t *queue, void *buffer)
{
    if (queue->item_size > 0) {
        memcpy(buffer, queue->items + (size_t)queue->first * queue->item_size, queue->item_size);
    }
}

static void drop_first(queue_t *queue)
{
    queue->first = (queue->first + 1) % queue->length;
    queue->count--;
}

static bool wait_for_item(queue_t *queue, TickType_t ticks)
{
    uint64_t deadline = native_deadline(ticks);
    bool expired = ticks == 0;
    while (queue->count == 0) {
        if (expired) {
            return false;
        }
        expired = !native_wait(&queue->receivers, deadline);
    }
    return true;
}

BaseType_t xQueueReceive(QueueHandle_t xQueue, void *const pvBuffer, TickType_t xTicksToWait)
{
    queue_t *queue = queue_of(xQueue, __func__);
    assert(pvBuffer != NULL || queue->item_size == 0);
    if (!wait_for_item(queue, xTicksToWait)) {
        return errQUEUE_EMPTY;
    }
    copy_first(queue, pvBuffer);
    drop_first(queue);
    native_wake_one(&queue->senders);
    native_preempt();
    return pdPASS;
}

BaseType_t xQueueReceiveFromISR(QueueHandle_t xQueue, void *const pvBuffer,
                                BaseType_t *const pxHigherPriorityTaskWoken)
{
    queue_t *queue = queue_of(xQueue, __func__);
    if (queue->count == 0) {
        return pdFAIL;
    }
    copy_first(queue, pvBuffer);
    drop_first(queue);
    wake_from_isr(&queue->senders, pxHigherPriorityTaskWoken);
    return pdPASS;
}

/* --- Semaphores and mutexes --- */

static UBaseType_t highest_waiting(const queue_t *queue)
{
    return queue->receivers.head == NULL ? 0 : native_priority(queue->receivers.head);
}

BaseType_t xQueueSemaphoreTake(QueueHandle_t xQueue, TickType_t xTicksToWait)
{
    queue_t *queue = queue_of(xQueue, __func__);
    assert(queue->item_size == 0);
    uint64_t deadline = native_deadline(xTicksToWait);
    bool expired = xTicksToWait == 0;
    while (queue->count == 0) {
        if (expired) {
            return errQUEUE_EMPTY;
        }
        native_task_t *holder = queue->holder;
        if (holder != NULL) {
            native_inherit(holder, native_priority(native_current()));
        }
        expired = !native_wait(&queue->receivers, deadline);
        if (expired && holder != NULL && holder == queue->holder) {
            native_disinherit_to(holder, highest_waiting(queue));
        }
    }
    queue->count--;
    if (is_mutex(queue)) {
        queue->holder = native_current();
        native_mutex_count(queue->holder, 1);
    }
    native_wake_one(&queue->senders);
    native_preempt();
    return pdPASS;
}

BaseType_t xQueueTakeMutexRecursive(QueueHandle_t xMutex, TickType_t xTicksToWait)
{
    queue_t *queue = queue_of(xMutex, __func__);
    if (queue->holder == native_current() && queue->holder != NULL) {
        queue->recursion++;
        return pdPASS;
    }
    BaseType_t taken = xQueueSemaphoreTake(xMutex, xTicksToWait);
    if (taken == pdPASS) {
        queue->recursion = 1;
    }
    return taken;
}

BaseType_t xQueueGiveMutexRecursive(QueueHandle_t xMutex)
{
    queue_t *queue = queue_of(xMutex, __func__);
    if (queue->holder != native_current()) {
        return pdFAIL;
    }
    if (--queue->recursion == 0) {
        xQueueGenericSend(xMutex, NULL, 0, queueSEND_TO_BACK);
    }
    return pdPASS;
}

/* --- Queries --- */

UBaseType_t uxQueueMessagesWaiting(const QueueHandle_t xQueue)
{
    return queue_of(xQueue, __func__)->count;
}

UBaseType_t uxQueueSpacesAvailable(const QueueHandle_t xQueue)
{
    queue_t *queue = queue_of(xQueue, __func__);
    return queue->length - queue->count;
}

BaseType_t xQueueIsQueueFullFromISR(const QueueHandle_t xQueue)
{
    queue_t *queue = queue_of(xQueue, __func__);
    return queue->count == queue->length;
}

BaseType_t xQueueGenericReset(QueueHandle_t xQueue, BaseType_t xNewQueue)
{
    (void)xNewQueue;
    queue_t *queue = queue_of(xQueue, __func__);
    queue->count = 0;
    queue->first = 0;
    native_wake_one(&queue->senders);
    native_preempt();
    return pdPASS;
}
