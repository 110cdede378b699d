/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory the console takes on purpose: levels, checkerboards, leaks. Console task only.
 *
 * The blocks of one hold form a list whose links lie in the blocks themselves, so that holding memory costs
 * no memory but the blocks, whatever their number. All allocations go past heap_fail's filter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#define HEAP_HOLD_MAX 64 /*!< holds at a time; ids are 1..HEAP_HOLD_MAX */

/** Blocks of one hold. The allocator walks all blocks of a heap with interrupts off, for each figure it is
 * asked: more than these, in PSRAM, and the console's input overflows meanwhile. */
#define HEAP_HOLD_BLOCKS_MAX 4500

typedef struct {
    uint32_t caps;
    uint32_t blocks;
    uint32_t bytes; /*!< usable bytes of the blocks; each block costs the heap 4 more */
} heap_hold_info_t;

/** Takes one block. ESP_ERR_NO_MEM: not to be had; ESP_ERR_INVALID_STATE: all ids are in use. */
esp_err_t heap_hold_size(uint32_t caps, uint32_t size, unsigned *id);

/**
 * @brief Takes blocks until heap_caps_get_free_size(caps) is as close above `leave` as the allocator permits.
 *
 * Biggest blocks first (none above `block`, if that is not 0; the last bytes in blocks of up to 256), so that
 * what is left stays in one piece where it can. The result is never below `leave`.
 *
 * A block takes 4 bytes more than its size, sizes are multiples of 4 of at least 12: free memory moves in
 * steps of 4, and its residue mod 4 is fixed (0 in PSRAM; 3 in the ESP32's internal and DMA memory, through
 * the odd length of the DMA pool). With that residue `leave` is met exactly, but for ends that no choice of
 * blocks meets: less than 16 bytes to take; less than about 200 to take, or less than about 64 to leave,
 * where small holes lie about. The caller reads back what became of it.
 *
 * @return ESP_ERR_INVALID_SIZE if less than `leave` is free already.
 */
esp_err_t heap_hold_leave(uint32_t caps, uint32_t leave, uint32_t block, unsigned *id);

/**
 * @brief Takes `count` blocks (0: as many as there are) and gives every second one back: free memory that is
 * no room.
 * @return ESP_ERR_NO_MEM if there are not as many, and *had says how many; ESP_ERR_INVALID_SIZE if it would
 * be more than HEAP_HOLD_BLOCKS_MAX. Nothing is kept then.
 */
esp_err_t heap_hold_split(uint32_t caps, uint32_t block, uint32_t count, unsigned *id, uint32_t *had);

/** Adds one block to a hold of its own, made at *id = 0. For leaks. */
esp_err_t heap_hold_add(uint32_t caps, uint32_t size, unsigned *id);

/** @return false if there is no such hold. */
bool heap_hold_info(unsigned id, heap_hold_info_t *info);

/** Gives a hold back, last block first. @return false if there is no such hold. */
bool heap_hold_release(unsigned id, heap_hold_info_t *released);
