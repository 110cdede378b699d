/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Deliberate allocations of the console: levels, checkerboards, leaks. Console task only.
 *
 * The blocks of one hold form a list linked inside the blocks, so that a hold costs no memory but the
 * blocks, regardless of their number. All allocations bypass heap_fail's filter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#define HEAP_HOLD_MAX 64 /*!< holds at a time; ids are 1..HEAP_HOLD_MAX */

/** Most blocks of one hold. For each query the allocator walks all blocks of a heap with interrupts off: with
 * more blocks in PSRAM the console's input would overflow. */
#define HEAP_HOLD_BLOCKS_MAX 4500

typedef struct {
    uint32_t caps;
    uint32_t blocks;
    uint32_t bytes; /*!< usable bytes of the blocks; each block costs the heap 4 more */
} heap_hold_info_t;

/** Takes one block. ESP_ERR_NO_MEM: the allocation failed; ESP_ERR_INVALID_STATE: all ids are in use. */
esp_err_t heap_hold_size(uint32_t caps, uint32_t size, unsigned *id);

/**
 * @brief Takes blocks until heap_caps_get_free_size(caps) is as close above `leave` as the allocator permits.
 *
 * Biggest blocks first (none above `block`, if that is not 0; the last bytes in blocks of up to 256), so
 * that the rest stays contiguous where possible. The result is never below `leave`.
 *
 * A block takes 4 bytes more than its size, sizes are multiples of 4 of at least 12: free memory moves in
 * steps of 4, and its residue mod 4 is fixed (0 in PSRAM; 3 in the ESP32's internal and DMA memory, due to
 * the odd length of the DMA pool). With that residue `leave` is met exactly, except where no choice of
 * blocks fits: less than 16 bytes to take; with small holes, less than about 200 to take or less than about
 * 64 to leave. The caller reads back the result.
 *
 * @return ESP_ERR_INVALID_SIZE if less than `leave` is free already.
 */
esp_err_t heap_hold_leave(uint32_t caps, uint32_t leave, uint32_t block, unsigned *id);

/**
 * @brief Takes `count` blocks (0: all available) and frees every second one: free but fragmented memory.
 * @return ESP_ERR_NO_MEM if there are fewer, with their number in *had; ESP_ERR_INVALID_SIZE if it would be
 * more than HEAP_HOLD_BLOCKS_MAX. Nothing is held then.
 */
esp_err_t heap_hold_split(uint32_t caps, uint32_t block, uint32_t count, unsigned *id, uint32_t *had);

/** Adds one block to the hold *id, which is created if *id is 0. For leaks. */
esp_err_t heap_hold_add(uint32_t caps, uint32_t size, unsigned *id);

/** All holds together: their number, and their usable bytes. */
void heap_hold_total(uint32_t *holds, uint32_t *bytes);

/** @return false if there is no such hold. */
bool heap_hold_info(unsigned id, heap_hold_info_t *info);

/** Frees a hold, last block first. @return false if there is no such hold. */
bool heap_hold_release(unsigned id, heap_hold_info_t *released);
