/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bytes between one writing task and one reading task, in memory that the user gives. Neither side waits or
 * locks. Pure: no IDF header.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint8_t *data;
    uint32_t size;    /*!< a power of two */
    uint32_t written; /*!< bytes since init, modulo 2^32; the writer's */
    uint32_t read;    /*!< the same, the reader's */
} audio_ring_t;

/** size: a power of two, at most 2^31. The ring is empty. */
void audio_ring_init(audio_ring_t *ring, void *memory, uint32_t size);
/** Bytes waiting. Either side may ask: it can only grow for the reader, and shrink for the writer. */
uint32_t audio_ring_used(const audio_ring_t *ring);
uint32_t audio_ring_room(const audio_ring_t *ring);
/** Writer only. Takes what fits; returns how much that was. */
size_t audio_ring_write(audio_ring_t *ring, const void *data, size_t len);
/** Reader only. Returns how much there was, at most len. */
size_t audio_ring_read(audio_ring_t *ring, void *data, size_t len);

#ifdef __cplusplus
}
#endif
