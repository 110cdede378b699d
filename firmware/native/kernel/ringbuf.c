/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * ESP-IDF's ring buffers: no-split buffers and byte buffers. Data and item headers are in the modelled
 * memory.
 */
#include <assert.h>
#include <string.h>
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/ringbuf.h"
#include "freertos/task.h"
#include "heap/heap_caps_native.h"
#include "kernel/object.h"
#include "kernel/task.h"

#define HEADER 8u
#define FLAG_FREE 1u  /* returned */
#define FLAG_DUMMY 2u /* fills the remainder up to the end of the buffer */

typedef struct {
    uint32_t length;
    uint32_t flags;
} item_header_t;

typedef struct {
    uint8_t *data;
    bool bytes; // a byte buffer
    enum { OWN_HEAP, OWN_CAPS, OWN_NONE } own;
    uint32_t size;
    uint32_t max_item;
    uint32_t write;  // offset that is written next
    uint32_t read;   // offset that is read next
    uint32_t oldest; // offset that is freed next
    uint32_t used;   // bytes from oldest to write; distinguishes full from empty
    uint32_t unread; // number of items, or of bytes in a byte buffer
    uint32_t lent;   // byte buffer: bytes that the reader has not returned yet
    native_wait_list_t senders;
    native_wait_list_t receivers;
} ring_t;

static ring_t *ring_of(RingbufHandle_t handle, const char *function)
{
    return native_object_get(handle, NATIVE_RING_BUFFER, function);
}

static uint32_t align(uint32_t size)
{
    return (size + 3u) & ~3u;
}

static RingbufHandle_t create(size_t size, RingbufferType_t type, void *block, uint8_t *storage, int own)
{
    ring_t *ring = native_host_alloc(sizeof *ring);
    ring->data = storage;
    ring->bytes = type == RINGBUF_TYPE_BYTEBUF;
    ring->own = own;
    ring->size = (uint32_t)size;
    ring->max_item = ring->bytes ? ring->size : align(ring->size / 2) - HEADER;
    native_object_bind(block, NATIVE_RING_BUFFER, ring);
    return block;
}

static RingbufHandle_t create_in_heap(size_t size, RingbufferType_t type, uint32_t caps, int own)
{
    assert(size > 0);
    if (type != RINGBUF_TYPE_NOSPLIT && type != RINGBUF_TYPE_BYTEBUF) {
        return NULL;
    }
    size = type == RINGBUF_TYPE_BYTEBUF ? size : align((uint32_t)size);
    void *block = heap_caps_malloc(NATIVE_SIZE_RING_BUFFER, caps);
    uint8_t *storage = heap_caps_malloc(size, caps);
    if (block == NULL || storage == NULL) {
        heap_caps_free(block);
        heap_caps_free(storage);
        return NULL;
    }
    return create(size, type, block, storage, own);
}

RingbufHandle_t xRingbufferCreateWithCaps(size_t xBufferSize, RingbufferType_t xBufferType,
                                          UBaseType_t uxMemoryCaps)
{
    return create_in_heap(xBufferSize, xBufferType, uxMemoryCaps, OWN_CAPS);
}

void vRingbufferDelete(RingbufHandle_t xRingbuffer)
{
    ring_t *ring = ring_of(xRingbuffer, __func__);
    native_object_unbind(xRingbuffer);
    if (ring->own == OWN_HEAP) {
        heap_caps_free(ring->data);
        heap_caps_free(xRingbuffer);
    }
    native_host_free(ring);
}

void vRingbufferDeleteWithCaps(RingbufHandle_t xRingbuffer)
{
    uint8_t *storage = ring_of(xRingbuffer, __func__)->data;
    vRingbufferDelete(xRingbuffer);
    heap_caps_free(xRingbuffer);
    heap_caps_free(storage);
}

/* --- Geometry --- */

static item_header_t header_at(const ring_t *ring, uint32_t offset)
{
    item_header_t header;
    memcpy(&header, ring->data + offset, sizeof header);
    return header;
}

static void set_header(ring_t *ring, uint32_t offset, uint32_t length, uint32_t flags)
{
    item_header_t header = {length, flags};
    memcpy(ring->data + offset, &header, sizeof header);
}

/* Size of the largest contiguous free range. */
static uint32_t free_piece(const ring_t *ring)
{
    if (ring->used == ring->size) {
        return 0;
    }
    if (ring->write < ring->oldest) {
        return ring->oldest - ring->write;
    }
    uint32_t upper = ring->size - ring->write;
    return upper > ring->oldest ? upper : ring->oldest;
}

static size_t room(const ring_t *ring)
{
    if (ring->bytes) {
        return ring->size - ring->used;
    }
    uint32_t piece = free_piece(ring);
    if (piece < HEADER) {
        return 0;
    }
    piece -= HEADER;
    return piece > ring->max_item ? ring->max_item : piece;
}

static bool fits(const ring_t *ring, uint32_t length)
{
    return ring->bytes ? length <= ring->size - ring->used : align(length) + HEADER <= free_piece(ring);
}

/* Offset after an item. If no header fits between there and the end, the next item starts at offset 0. */
static uint32_t step(ring_t *ring, uint32_t offset, uint32_t distance, uint32_t *used, int sign)
{
    offset += distance;
    *used += (uint32_t)sign * distance;
    if (ring->size - offset < HEADER) {
        *used += (uint32_t)sign * (ring->size - offset);
        offset = 0;
    }
    return offset;
}

static void put_item(ring_t *ring, const void *item, uint32_t length)
{
    uint32_t need = align(length) + HEADER;
    if (ring->write >= ring->oldest && ring->size - ring->write < need) {
        set_header(ring, ring->write, 0, FLAG_DUMMY);
        ring->used += ring->size - ring->write;
        ring->write = 0;
    }
    set_header(ring, ring->write, length, 0);
    memcpy(ring->data + ring->write + HEADER, item, length);
    ring->write = step(ring, ring->write, need, &ring->used, 1);
    ring->unread++;
}

static void put_bytes(ring_t *ring, const void *bytes, uint32_t length)
{
    uint32_t first = ring->size - ring->write;
    first = length < first ? length : first;
    memcpy(ring->data + ring->write, bytes, first);
    memcpy(ring->data, (const uint8_t *)bytes + first, length - first);
    ring->write = (ring->write + length) % ring->size;
    ring->used += length;
    ring->unread += length;
}

static void put(ring_t *ring, const void *item, size_t length)
{
    if (ring->bytes) {
        put_bytes(ring, item, (uint32_t)length);
    } else {
        put_item(ring, item, (uint32_t)length);
    }
}

static void *take(ring_t *ring, size_t *length, size_t max)
{
    if (ring->bytes) {
        uint32_t piece = ring->size - ring->read;
        piece = ring->unread < piece ? ring->unread : piece;
        piece = max != 0 && max < piece ? (uint32_t)max : piece;
        uint8_t *start = ring->data + ring->read;
        ring->read = (ring->read + piece) % ring->size;
        ring->unread -= piece;
        ring->lent = piece;
        *length = piece;
        return start;
    }
    if (header_at(ring, ring->read).flags & FLAG_DUMMY) {
        ring->read = 0;
    }
    uint32_t size = header_at(ring, ring->read).length;
    uint8_t *start = ring->data + ring->read + HEADER;
    uint32_t unused = 0;
    ring->read = step(ring, ring->read, align(size) + HEADER, &unused, 1);
    ring->unread--;
    *length = size;
    return start;
}

static void give_back(ring_t *ring, uint8_t *item)
{
    if (ring->bytes) {
        ring->used -= ring->lent;
        ring->oldest = ring->read;
        ring->lent = 0;
        return;
    }
    uint32_t offset = (uint32_t)(item - ring->data) - HEADER;
    assert(item >= ring->data + HEADER && offset < ring->size);
    item_header_t header = header_at(ring, offset);
    assert((header.flags & (FLAG_FREE | FLAG_DUMMY)) == 0);
    set_header(ring, offset, header.length, FLAG_FREE);
    // Stop at the reader, which still has to skip a dummy there.
    while (ring->used > 0 && (ring->oldest != ring->read || ring->unread == 0)) {
        header = header_at(ring, ring->oldest);
        if (header.flags & FLAG_DUMMY) {
            ring->used -= ring->size - ring->oldest;
            ring->oldest = 0;
        } else if (header.flags & FLAG_FREE) {
            ring->oldest = step(ring, ring->oldest, align(header.length) + HEADER, &ring->used, -1);
        } else {
            break;
        }
    }
}

/* A byte buffer lends only one piece at a time to the reader. */
static bool readable(const ring_t *ring)
{
    return ring->unread > 0 && (!ring->bytes || ring->lent == 0);
}

/* --- Sending and receiving --- */

BaseType_t xRingbufferSend(RingbufHandle_t xRingbuffer, const void *pvItem, size_t xItemSize,
                           TickType_t xTicksToWait)
{
    ring_t *ring = ring_of(xRingbuffer, __func__);
    assert(pvItem != NULL || xItemSize == 0);
    if (xItemSize > ring->max_item) {
        return pdFALSE;
    }
    if (ring->bytes && xItemSize == 0) {
        return pdTRUE;
    }
    uint64_t deadline = native_deadline(xTicksToWait);
    bool expired = xTicksToWait == 0;
    while (!fits(ring, (uint32_t)xItemSize)) {
        if (expired) {
            return pdFALSE;
        }
        expired = !native_wait(&ring->senders, deadline);
    }
    put(ring, pvItem, xItemSize);
    native_wake_one(&ring->receivers);
    native_preempt();
    return pdTRUE;
}

BaseType_t xRingbufferSendFromISR(RingbufHandle_t xRingbuffer, const void *pvItem, size_t xItemSize,
                                  BaseType_t *pxHigherPriorityTaskWoken)
{
    (void)pxHigherPriorityTaskWoken;
    ring_t *ring = ring_of(xRingbuffer, __func__);
    if (xItemSize > ring->max_item || !fits(ring, (uint32_t)xItemSize)) {
        return pdFALSE;
    }
    if (!(ring->bytes && xItemSize == 0)) {
        put(ring, pvItem, xItemSize);
        native_wake_one(&ring->receivers);
    }
    return pdTRUE;
}

static void *receive(RingbufHandle_t handle, size_t *length, TickType_t ticks, size_t max)
{
    ring_t *ring = ring_of(handle, __func__);
    uint64_t deadline = native_deadline(ticks);
    bool expired = ticks == 0;
    while (!readable(ring)) {
        if (expired) {
            return NULL;
        }
        expired = !native_wait(&ring->receivers, deadline);
    }
    return take(ring, length, max);
}

void *xRingbufferReceiveFromISR(RingbufHandle_t xRingbuffer, size_t *pxItemSize)
{
    return receive(xRingbuffer, pxItemSize, 0, 0);
}

void *xRingbufferReceiveUpTo(RingbufHandle_t xRingbuffer, size_t *pxItemSize, TickType_t xTicksToWait,
                             size_t xMaxSize)
{
    assert(xMaxSize > 0);
    return receive(xRingbuffer, pxItemSize, xTicksToWait, xMaxSize);
}

void vRingbufferReturnItemFromISR(RingbufHandle_t xRingbuffer, void *pvItem,
                                  BaseType_t *pxHigherPriorityTaskWoken)
{
    (void)pxHigherPriorityTaskWoken;
    ring_t *ring = ring_of(xRingbuffer, __func__);
    give_back(ring, pvItem);
    native_wake_one(&ring->senders);
}

void vRingbufferReturnItem(RingbufHandle_t xRingbuffer, void *pvItem)
{
    vRingbufferReturnItemFromISR(xRingbuffer, pvItem, NULL);
    native_preempt();
}

/* --- Queries --- */

size_t xRingbufferGetMaxItemSize(RingbufHandle_t xRingbuffer)
{
    return ring_of(xRingbuffer, __func__)->max_item;
}

size_t xRingbufferGetCurFreeSize(RingbufHandle_t xRingbuffer)
{
    return room(ring_of(xRingbuffer, __func__));
}

void vRingbufferGetInfo(RingbufHandle_t xRingbuffer, UBaseType_t *uxFree, UBaseType_t *uxRead,
                        UBaseType_t *uxWrite, UBaseType_t *uxAcquire, UBaseType_t *uxItemsWaiting)
{
    ring_t *ring = ring_of(xRingbuffer, __func__);
    UBaseType_t *fields[] = {uxFree, uxRead, uxWrite, uxAcquire, uxItemsWaiting};
    const uint32_t values[] = {ring->oldest, ring->read, ring->write, ring->write, ring->unread};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i] != NULL) {
            *fields[i] = values[i];
        }
    }
}
