/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Fields of the memory statistics. memory_stats_t, the statistics box and the mem.sample record are generated
 * from these lists. Include memory_manager.h instead of this file.
 */
#pragma once

/* clang-format off: the lists are tables */

/*
 * X(field, section, row): a uint32_t of memory_stats_t and its place in the box (NONE: only in the record).
 * Sections and rows are names in mem_render.c's tables, in the same order.
 */
#define MEMORY_STATS_FIELDS(X)                                                                              \
    X(timestamp_ms, NONE, NONE)                        /* ms since boot, when the sample was taken */       \
    X(internal_free, INTERNAL, FREE)                   /* bytes; internal = MALLOC_CAP_INTERNAL | 8BIT */   \
    X(internal_largest, INTERNAL, LARGEST)             /* bytes; the largest block that can be allocated */ \
    X(internal_fragmentation, INTERNAL, FRAGMENTATION) /* percent, see mem_layout.h */                      \
    X(dma_free, DMA, FREE)                                                                                  \
    X(dma_largest, DMA, LARGEST)                                                                            \
    X(dma_fragmentation, DMA, FRAGMENTATION)                                                                \
    X(psram_free, PSRAM, FREE)                                                                              \
    X(psram_largest, PSRAM, LARGEST)                                                                        \
    X(psram_fragmentation, PSRAM, FRAGMENTATION)                                                            \
    X(total_free, TOTAL, FREE)            /* bytes; total = MALLOC_CAP_DEFAULT */                           \
    X(total_minimum_free, TOTAL, MINIMUM) /* bytes; lowest total_free since boot */                         \
    X(iram_free, NONE, NONE)              /* bytes that allow 32-bit accesses only */                       \
    X(internal_watermark, NONE, NONE)     /* bytes; lowest free since the last periodic sample */           \
    X(dma_watermark, NONE, NONE)                                                                            \
    X(psram_watermark, NONE, NONE)                                                                          \
    X(total_watermark, NONE, NONE)

/* X(field, label, stats field): one row per baseline value. Also generates the delta rows of the
 * statistics box. */
#define MEMORY_BASELINE_FIELDS(X)               \
    X(internal, "Internal RAM:", internal_free) \
    X(dma, "DMA-capable:", dma_free)            \
    X(psram, "PSRAM:", psram_free)              \
    X(total, "Total Heap:", total_free)

/* clang-format on */
