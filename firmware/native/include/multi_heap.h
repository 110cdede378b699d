/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's multi_heap.h: the part that esp_heap_caps.h exposes to applications.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    size_t total_free_bytes;      //!< Free bytes, including a few per heap that are in no block
    size_t total_allocated_bytes; //!< Bytes in used blocks, without their headers
    size_t largest_free_block;    //!< Largest size that can be allocated now
    size_t minimum_free_bytes;    //!< Lowest total_free_bytes so far; summed over heaps by heap_caps_get_info
    size_t allocated_blocks;
    size_t free_blocks;
    size_t total_blocks;
} multi_heap_info_t;

#ifdef __cplusplus
}
#endif
