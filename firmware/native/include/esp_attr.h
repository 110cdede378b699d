/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_attr.h.
 *
 * The placement of code and constants has no effect on the host, so most attributes are empty. IRAM_ATTR and
 * DRAM_ATTR use ESP-IDF's section names, so that a test can find what code in IRAM refers to
 * (test_firmware_iram.py). RTC_NOINIT_ATTR has an effect: a file backs its section, which therefore survives
 * every reset except a power-on.
 */
#pragma once

#include "sdkconfig.h"

#define ROMFN_ATTR
#define NATIVE_SECTION_(name, number) __attribute__((section(name "." #number)))
#define NATIVE_SECTION(name, number) NATIVE_SECTION_(name, number)
#define IRAM_ATTR NATIVE_SECTION(".iram1", __COUNTER__)
#define DRAM_ATTR NATIVE_SECTION(".dram1", __COUNTER__)
#define IRAM_DATA_ATTR
#define IRAM_BSS_ATTR
#define WORD_ALIGNED_ATTR __attribute__((aligned(4)))
#define DMA_ATTR WORD_ALIGNED_ATTR DRAM_ATTR
#define DRAM_DMA_ALIGNED_ATTR WORD_ALIGNED_ATTR DRAM_ATTR
#define PACKED_ATTR __attribute__((packed))
#define FORCE_INLINE_ATTR static inline __attribute__((always_inline))
#define NOINLINE_ATTR __attribute__((noinline))
#define DRAM_STR(str) (str)

/* The section's name is a C identifier, so that the linker provides __start_rtc_noinit and
 * __stop_rtc_noinit. */
#define RTC_NOINIT_ATTR __attribute__((section("rtc_noinit")))
#define RTC_DATA_ATTR
#define RTC_RODATA_ATTR
#define RTC_SLOW_ATTR
#define RTC_IRAM_ATTR
#define RTC_FAST_ATTR
/* Included in core dumps (idf/core_dump.c). The section's name is a C identifier for the same reason. */
#define COREDUMP_RTC_DATA_ATTR __attribute__((section("rtc_coredump")))
#define COREDUMP_RTC_FAST_ATTR
#define COREDUMP_DRAM_ATTR
#define COREDUMP_IRAM_DATA_ATTR

#define EXT_RAM_BSS_ATTR
#define EXT_RAM_NOINIT_ATTR
#define __NOINIT_ATTR

#define IDF_DEPRECATED(REASON)
#define FLAG_ATTR(TYPE)
