/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The two counters never wrap at the ring's size; they are masked when used as an index. Each side stores its
 * own counter with release order, after copying its bytes, and loads the other's with acquire order. This
 * makes the bytes visible to the other core.
 */
#include "audio_ring.h"

#include <string.h>

void audio_ring_init(audio_ring_t *ring, void *memory, uint32_t size)
{
    *ring = (audio_ring_t){.data = memory, .size = size};
}

uint32_t audio_ring_used(const audio_ring_t *ring)
{
    uint32_t read, written;
    do { /* if the caller is neither reader nor writer, both counters may change between the two loads */
        read = __atomic_load_n(&ring->read, __ATOMIC_ACQUIRE);
        written = __atomic_load_n(&ring->written, __ATOMIC_ACQUIRE);
    } while (read != __atomic_load_n(&ring->read, __ATOMIC_ACQUIRE));
    uint32_t used = written - read;
    return used <= ring->size ? used : 0; /* a third task sees the counters of an init in progress */
}

uint32_t audio_ring_room(const audio_ring_t *ring)
{
    return ring->size - audio_ring_used(ring);
}

/** Bytes that can be copied at position `counter` before the ring wraps, but not more than len or limit. */
static uint32_t up_to_end(const audio_ring_t *ring, uint32_t counter, size_t len, uint32_t limit)
{
    uint32_t whole = len < limit ? (uint32_t)len : limit;
    uint32_t to_end = ring->size - (counter & (ring->size - 1));
    return whole < to_end ? whole : to_end;
}

size_t audio_ring_write(audio_ring_t *ring, const void *data, size_t len)
{
    uint32_t start = ring->written;
    uint32_t room = audio_ring_room(ring);
    uint32_t total = len < room ? (uint32_t)len : room;
    uint32_t first = up_to_end(ring, start, len, room);
    if (total > 0) {
        memcpy(ring->data + (start & (ring->size - 1)), data, first);
        memcpy(ring->data, (const uint8_t *)data + first, total - first);
        __atomic_store_n(&ring->written, start + total, __ATOMIC_RELEASE);
    }
    return total;
}

size_t audio_ring_read(audio_ring_t *ring, void *data, size_t len)
{
    uint32_t start = ring->read;
    uint32_t used = audio_ring_used(ring);
    uint32_t total = len < used ? (uint32_t)len : used;
    uint32_t first = up_to_end(ring, start, len, used);
    if (total > 0) {
        memcpy(data, ring->data + (start & (ring->size - 1)), first);
        memcpy((uint8_t *)data + first, ring->data, total - first);
        __atomic_store_n(&ring->read, start + total, __ATOMIC_RELEASE);
    }
    return total;
}
