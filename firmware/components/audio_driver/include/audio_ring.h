/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Lock-free byte ring for one writing task and one reading task, in memory provided by the caller. Neither
 * side blocks. Pure: no IDF header.
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

/** Initialises an empty ring. size: bytes of memory, a power of two, at most 2^31. */
void audio_ring_init(audio_ring_t *ring, void *memory, uint32_t size);
/** Number of bytes in the ring, from 0 to its size. Any task may call it. The returned number is a
 * lower bound for the reader and an upper bound for the writer, until they next read or write. */
uint32_t audio_ring_used(const audio_ring_t *ring);
/** Number of bytes that fit into the ring: its size less audio_ring_used(). */
uint32_t audio_ring_room(const audio_ring_t *ring);
/** Writer only. Copies as many bytes as fit. @return the number of bytes copied */
size_t audio_ring_write(audio_ring_t *ring, const void *data, size_t len);
/** Reader only. @return the number of bytes read, at most len */
size_t audio_ring_read(audio_ring_t *ring, void *data, size_t len);

#ifdef __cplusplus
}
#endif
