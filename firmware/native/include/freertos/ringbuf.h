/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's freertos/ringbuf.h.
 */
#pragma once

#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void *RingbufHandle_t;

typedef enum {
    RINGBUF_TYPE_NOSPLIT = 0, /* contiguous items, each with a header of 8 bytes and 4-byte aligned */
    RINGBUF_TYPE_ALLOWSPLIT,  /* not supported by this runtime: create returns NULL */
    RINGBUF_TYPE_BYTEBUF,     /* plain bytes */
    RINGBUF_TYPE_MAX,
} RingbufferType_t;

typedef struct {
    uint64_t opaque[2];
} StaticRingbuffer_t;

RingbufHandle_t xRingbufferCreateWithCaps(size_t xBufferSize, RingbufferType_t xBufferType,
                                          UBaseType_t uxMemoryCaps);
void vRingbufferDelete(RingbufHandle_t xRingbuffer);
void vRingbufferDeleteWithCaps(RingbufHandle_t xRingbuffer);
BaseType_t xRingbufferSend(RingbufHandle_t xRingbuffer, const void *pvItem, size_t xItemSize,
                           TickType_t xTicksToWait);
BaseType_t xRingbufferSendFromISR(RingbufHandle_t xRingbuffer, const void *pvItem, size_t xItemSize,
                                  BaseType_t *pxHigherPriorityTaskWoken);
void *xRingbufferReceiveFromISR(RingbufHandle_t xRingbuffer, size_t *pxItemSize);
void *xRingbufferReceiveUpTo(RingbufHandle_t xRingbuffer, size_t *pxItemSize, TickType_t xTicksToWait,
                             size_t xMaxSize);
void vRingbufferReturnItem(RingbufHandle_t xRingbuffer, void *pvItem);
void vRingbufferReturnItemFromISR(RingbufHandle_t xRingbuffer, void *pvItem,
                                  BaseType_t *pxHigherPriorityTaskWoken);
size_t xRingbufferGetMaxItemSize(RingbufHandle_t xRingbuffer);
size_t xRingbufferGetCurFreeSize(RingbufHandle_t xRingbuffer);
void vRingbufferGetInfo(RingbufHandle_t xRingbuffer, UBaseType_t *uxFree, UBaseType_t *uxRead,
                        UBaseType_t *uxWrite, UBaseType_t *uxAcquire, UBaseType_t *uxItemsWaiting);

#ifdef __cplusplus
}
#endif
