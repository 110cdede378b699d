/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_memory_utils.h, for blocks of the modelled heap, which are at the chip's
 * addresses.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline bool esp_ptr_in_range_(const void *p, uintptr_t low, uintptr_t high)
{
    return (uintptr_t)p >= low && (uintptr_t)p < high;
}

static inline bool esp_ptr_external_ram(const void *p)
{
    return esp_ptr_in_range_(p, 0x3F800000, 0x3FC00000);
}

static inline bool esp_ptr_in_dram(const void *p)
{
    return esp_ptr_in_range_(p, 0x3FFAE000, 0x40000000);
}

static inline bool esp_ptr_in_iram(const void *p)
{
    return esp_ptr_in_range_(p, 0x40080000, 0x400AA000);
}

static inline bool esp_ptr_in_diram_dram(const void *p)
{
    return esp_ptr_in_range_(p, 0x3FFE0000, 0x40000000);
}

static inline bool esp_ptr_in_diram_iram(const void *p)
{
    return esp_ptr_in_range_(p, 0x400A0000, 0x400C0000);
}

static inline bool esp_ptr_dma_capable(const void *p)
{
    return esp_ptr_in_dram(p);
}

static inline bool esp_ptr_internal(const void *p)
{
    return esp_ptr_in_dram(p) || esp_ptr_in_iram(p) || esp_ptr_in_diram_iram(p);
}

static inline bool esp_ptr_byte_accessible(const void *p)
{
    return esp_ptr_in_dram(p) || esp_ptr_external_ram(p);
}

static inline bool esp_ptr_word_aligned(const void *p)
{
    return ((uintptr_t)p & 3) == 0;
}

#ifdef __cplusplus
}
#endif
