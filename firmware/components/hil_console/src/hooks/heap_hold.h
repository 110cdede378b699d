/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Deliberate allocations of the console: to reach a level of free memory, to fragment it, to leak. Console
 * task only.
 *
 * A hold is a set of blocks with an id. Its blocks are linked through their own memory, so a hold allocates
 * nothing else, regardless of the number of blocks. All allocations bypass heap_fail's filter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"

#define HEAP_HOLD_MAX 64 /*!< maximum number of holds at a time; ids are 1..HEAP_HOLD_MAX */

/** Maximum number of blocks per hold. For each query the allocator walks all blocks of a heap with interrupts
 * off. With more blocks in PSRAM that takes so long that the UART's input FIFO overflows. */
#define HEAP_HOLD_BLOCKS_MAX 4500

typedef struct {
    uint32_t caps;
    uint32_t blocks;
    uint32_t bytes; /*!< usable bytes of the blocks; each block takes 4 more bytes of heap */
} heap_hold_info_t;

/** Allocates one block. ESP_ERR_NO_MEM: the allocation failed; ESP_ERR_INVALID_STATE: all ids are in use. */
esp_err_t heap_hold_size(uint32_t caps, uint32_t size, unsigned *id);

/** Changes the size of the only block of a hold. ESP_ERR_NO_MEM: the block is unchanged; ESP_ERR_NOT_FOUND:
 * no hold of one block has this id. */
esp_err_t heap_hold_resize(unsigned id, uint32_t size);

/**
 * @brief Allocates blocks until heap_caps_get_free_size(caps) is as close above `leave` as the allocator
 * permits, and never below it.
 *
 * The largest blocks are allocated first, so that the remaining memory stays contiguous where possible. If
 * `block` is not 0, no block is larger than that. The last bytes are allocated in blocks of up to 256 bytes.
 *
 * A block uses 4 bytes more than its size, and sizes are multiples of 4, at least 12. So free memory changes
 * in steps of 4, and its residue modulo 4 is fixed: 0 in PSRAM; 3 in the ESP32's internal and DMA memory, due
 * to the odd length of the DMA pool. A `leave` with that residue is met exactly, unless no combination of
 * blocks fits. That happens if fewer than 16 bytes have to be allocated, or, with small holes, if fewer than
 * about 200 bytes have to be allocated or about 64 left free. Query the free size for the result.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_SIZE: less than `leave` is free before the call
 *      - ESP_ERR_INVALID_STATE: all ids are in use
 */
esp_err_t heap_hold_leave(uint32_t caps, uint32_t leave, uint32_t block, unsigned *id);

/**
 * @brief Allocates `count` blocks (0: as many as fit) and frees every second one, which leaves fragmented
 * free memory. Each new hole has the size of one block, because the last block before a gap or another
 * owner's block is not freed.
 * @param[out] had number of blocks that could be allocated
 * @return
 *      - ESP_OK
 *      - ESP_ERR_NO_MEM: fewer than `count`, or fewer than two, could be allocated; no block is kept
 *      - ESP_ERR_INVALID_SIZE: `count` is above HEAP_HOLD_BLOCKS_MAX, or it is 0 and that many blocks fit;
 *        no block is kept
 *      - ESP_ERR_INVALID_STATE: all ids are in use
 */
esp_err_t heap_hold_split(uint32_t caps, uint32_t block, uint32_t count, unsigned *id, uint32_t *had);

/** Adds one block to hold *id; creates a hold if *id is 0. For leaks. ESP_ERR_NO_MEM: the allocation failed;
 * ESP_ERR_INVALID_STATE: no hold has this id, or all ids are in use. */
esp_err_t heap_hold_add(uint32_t caps, uint32_t size, unsigned *id);

/** Number of all holds, and the sum of their usable bytes. */
void heap_hold_total(uint32_t *holds, uint32_t *bytes);

/** @return false if no hold has this id */
bool heap_hold_info(unsigned id, heap_hold_info_t *info);

/** Frees a hold, last block first. @return false if no hold has this id */
bool heap_hold_release(unsigned id, heap_hold_info_t *released);
