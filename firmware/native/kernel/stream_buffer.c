/* Stream and message buffers. Their bytes lie where the chip has them: behind the object in its block. */
#include "native.h"

#include <string.h>
#include "freertos/message_buffer.h"
#include "freertos/stream_buffer.h"

#define LENGTH_BYTES 4 /* of a message, on the chip */

typedef struct {
    uint8_t *data;
    void *charged_storage;
    size_t size; // one more than fits
    size_t head; // written next
    size_t tail; // read next
    size_t trigger;
    bool message;
    bool is_static;
    native_wait_list_t sender;
    native_wait_list_t receiver;
} stream_t;

static stream_t *stream_of(StreamBufferHandle_t handle, const char *function)
{
    return native_object_get(handle, NATIVE_STREAM_BUFFER, function);
}

static StreamBufferHandle_t create(void *block, uint8_t *data, size_t size, size_t trigger, bool message,
                                   bool is_static)
{
    stream_t *stream = native_host_alloc(sizeof *stream);
    *stream = (stream_t){
        .data = data,
        .size = size,
        .trigger = trigger == 0 ? 1 : trigger,
        .message = message,
        .is_static = is_static,
    };
    native_object_bind(block, NATIVE_STREAM_BUFFER, stream);
    return block;
}

StreamBufferHandle_t xStreamBufferGenericCreate(size_t xBufferSizeBytes, size_t xTriggerLevelBytes,
                                                BaseType_t xIsMessageBuffer,
                                                StreamBufferCallbackFunction_t pxSendCompletedCallback,
                                                StreamBufferCallbackFunction_t pxReceiveCompletedCallback)
{
    (void)pxSendCompletedCallback;
    (void)pxReceiveCompletedCallback;
    assert(xBufferSizeBytes > (xIsMessageBuffer ? LENGTH_BYTES : 0));
    assert(xTriggerLevelBytes <= xBufferSizeBytes);
    void *block = heap_caps_malloc(xBufferSizeBytes + 1 + NATIVE_SIZE_STREAM_BUFFER, NATIVE_KERNEL_CAPS);
    return block == NULL ? NULL
                         : create(block, (uint8_t *)block + NATIVE_SIZE_STREAM_BUFFER, xBufferSizeBytes + 1,
                                  xTriggerLevelBytes, xIsMessageBuffer != pdFALSE, false);
}

StreamBufferHandle_t
xStreamBufferGenericCreateStatic(size_t xBufferSizeBytes, size_t xTriggerLevelBytes,
                                 BaseType_t xIsMessageBuffer, uint8_t *const pucStreamBufferStorageArea,
                                 StaticStreamBuffer_t *const pxStaticStreamBuffer,
                                 StreamBufferCallbackFunction_t pxSendCompletedCallback,
                                 StreamBufferCallbackFunction_t pxReceiveCompletedCallback)
{
    (void)pxSendCompletedCallback;
    (void)pxReceiveCompletedCallback;
    assert(pucStreamBufferStorageArea != NULL);
    assert(pxStaticStreamBuffer != NULL);
    assert(xTriggerLevelBytes <= xBufferSizeBytes);
    return create(pxStaticStreamBuffer, pucStreamBufferStorageArea, xBufferSizeBytes, xTriggerLevelBytes,
                  xIsMessageBuffer != pdFALSE, true);
}

StreamBufferHandle_t xStreamBufferGenericCreateWithCaps(size_t xBufferSizeBytes, size_t xTriggerLevelBytes,
                                                        BaseType_t xIsMessageBuffer, UBaseType_t uxMemoryCaps)
{
    void *block = heap_caps_malloc(NATIVE_SIZE_STREAM_BUFFER, uxMemoryCaps);
    void *storage = heap_caps_malloc(xBufferSizeBytes, uxMemoryCaps);
    if (block == NULL || storage == NULL) {
        heap_caps_free(storage);
        heap_caps_free(block);
        return NULL;
    }
    create(block, storage, xBufferSizeBytes, xTriggerLevelBytes, xIsMessageBuffer != pdFALSE, true);
    stream_of(block, __func__)->charged_storage = storage;
    return block;
}

void vStreamBufferDelete(StreamBufferHandle_t xStreamBuffer)
{
    stream_t *stream = stream_of(xStreamBuffer, __func__);
    native_object_unbind(xStreamBuffer);
    if (!stream->is_static) {
        heap_caps_free(xStreamBuffer);
    }
    native_host_free(stream);
}

void vStreamBufferGenericDeleteWithCaps(StreamBufferHandle_t xStreamBuffer, BaseType_t xIsMessageBuffer)
{
    (void)xIsMessageBuffer;
    void *storage = stream_of(xStreamBuffer, __func__)->charged_storage;
    vStreamBufferDelete(xStreamBuffer);
    heap_caps_free(storage);
    heap_caps_free(xStreamBuffer);
}

static size_t bytes_in(const stream_t *stream)
{
    return (stream->head + stream->size - stream->tail) % stream->size;
}

static size_t room_in(const stream_t *stream)
{
    return stream->size - 1 - bytes_in(stream);
}

static void put(stream_t *stream, const void *bytes, size_t length)
{
    size_t first = stream->size - stream->head;
    first = length < first ? length : first;
    memcpy(stream->data + stream->head, bytes, first);
    memcpy(stream->data, (const uint8_t *)bytes + first, length - first);
    stream->head = (stream->head + length) % stream->size;
}

static size_t get(stream_t *stream, void *bytes, size_t length, size_t tail)
{
    size_t first = stream->size - tail;
    first = length < first ? length : first;
    memcpy(bytes, stream->data + tail, first);
    memcpy((uint8_t *)bytes + first, stream->data, length - first);
    return (tail + length) % stream->size;
}

size_t xStreamBufferSend(StreamBufferHandle_t xStreamBuffer, const void *pvTxData, size_t xDataLengthBytes,
                         TickType_t xTicksToWait)
{
    stream_t *stream = stream_of(xStreamBuffer, __func__);
    assert(pvTxData != NULL);
    size_t wanted = xDataLengthBytes + (stream->message ? LENGTH_BYTES : 0);
    if (wanted > stream->size - 1) {
        if (stream->message) {
            return 0; // it can never fit
        }
        wanted = stream->size - 1;
    }
    uint64_t deadline = native_deadline(xTicksToWait);
    bool expired = xTicksToWait == 0;
    while (room_in(stream) < wanted && !expired) {
        expired = !native_wait(&stream->sender, deadline);
    }
    size_t room = room_in(stream);
    size_t sent;
    if (stream->message) {
        if (room < wanted) {
            return 0;
        }
        uint32_t length = (uint32_t)xDataLengthBytes;
        put(stream, &length, LENGTH_BYTES);
        sent = xDataLengthBytes;
    } else {
        sent = xDataLengthBytes < room ? xDataLengthBytes : room;
    }
    put(stream, pvTxData, sent);
    if (bytes_in(stream) >= stream->trigger) {
        native_wake_one(&stream->receiver);
        native_preempt();
    }
    return sent;
}

size_t xStreamBufferReceive(StreamBufferHandle_t xStreamBuffer, void *pvRxData, size_t xBufferLengthBytes,
                            TickType_t xTicksToWait)
{
    stream_t *stream = stream_of(xStreamBuffer, __func__);
    assert(pvRxData != NULL);
    size_t least = stream->message ? LENGTH_BYTES : 0;
    if (xTicksToWait > 0 && bytes_in(stream) <= least) {
        native_wait(&stream->receiver, native_deadline(xTicksToWait));
    }
    size_t length = bytes_in(stream);
    if (length <= least) {
        return 0;
    }
    if (stream->message) {
        uint32_t message;
        size_t tail = get(stream, &message, LENGTH_BYTES, stream->tail);
        if (message > xBufferLengthBytes) {
            return 0; // stays where it is
        }
        stream->tail = tail;
        length = message;
    } else {
        length = length < xBufferLengthBytes ? length : xBufferLengthBytes;
    }
    stream->tail = get(stream, pvRxData, length, stream->tail);
    native_wake_one(&stream->sender);
    native_preempt();
    return length;
}

BaseType_t xStreamBufferIsFull(StreamBufferHandle_t xStreamBuffer)
{
    stream_t *stream = stream_of(xStreamBuffer, __func__);
    return room_in(stream) <= (stream->message ? LENGTH_BYTES : 0);
}

BaseType_t xStreamBufferIsEmpty(StreamBufferHandle_t xStreamBuffer)
{
    return bytes_in(stream_of(xStreamBuffer, __func__)) == 0;
}

BaseType_t xStreamBufferReset(StreamBufferHandle_t xStreamBuffer)
{
    stream_t *stream = stream_of(xStreamBuffer, __func__);
    if (stream->sender.head != NULL || stream->receiver.head != NULL) {
        return pdFAIL;
    }
    stream->head = 0;
    stream->tail = 0;
    return pdPASS;
}

size_t xStreamBufferSpacesAvailable(StreamBufferHandle_t xStreamBuffer)
{
    return room_in(stream_of(xStreamBuffer, __func__));
}

size_t xStreamBufferBytesAvailable(StreamBufferHandle_t xStreamBuffer)
{
    return bytes_in(stream_of(xStreamBuffer, __func__));
}

BaseType_t xStreamBufferSetTriggerLevel(StreamBufferHandle_t xStreamBuffer, size_t xTriggerLevel)
{
    stream_t *stream = stream_of(xStreamBuffer, __func__);
    if (xTriggerLevel >= stream->size) {
        return pdFALSE;
    }
    stream->trigger = xTriggerLevel == 0 ? 1 : xTriggerLevel;
    return pdTRUE;
}

size_t xStreamBufferNextMessageLengthBytes(StreamBufferHandle_t xStreamBuffer)
{
    stream_t *stream = stream_of(xStreamBuffer, __func__);
    uint32_t length = 0;
    if (stream->message && bytes_in(stream) > LENGTH_BYTES) {
        get(stream, &length, LENGTH_BYTES, stream->tail);
    }
    return length;
}
