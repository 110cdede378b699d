/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Byte ring between one writing task and one reading task, in memory that the user provides. Neither side
 * waits or locks. Pure: no IDF header.
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
    uint32_t written; /*!< bytes written since init, modulo 2^32 */
    uint32_t read;    /*!< bytes read since init, modulo 2^32 */
} audio_ring_t;

/** size: a power of two, at most 2^31. The ring is empty. */
void audio_ring_init(audio_ring_t *ring, void *memory, uint32_t size);
/** Number of bytes in the ring. Either side may call it: for the reader it can only grow, for the writer only
 * shrink. */
uint32_t audio_ring_used(const audio_ring_t *ring);
uint32_t audio_ring_room(const audio_ring_t *ring);
/** Writer only. Takes what fits and returns the number of bytes taken. */
size_t audio_ring_write(audio_ring_t *ring, const void *data, size_t len);
/** Reader only. Returns the number of bytes read, at most len. */
size_t audio_ring_read(audio_ring_t *ring, void *data, size_t len);

#ifdef __cplusplus
}
#endif
