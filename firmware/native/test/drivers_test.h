/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The drivers' test program: one case per boot, named in the flash's last sector by the test that runs it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "runtime_test.h"

extern const test_case_t g_audio_cases[];
extern const test_case_t g_camera_cases[];
extern const test_case_t g_memory_cases[];
extern const test_case_t g_output_cases[];
extern const test_case_t g_task_cases[];
extern const test_case_t g_tts_cases[];

/* Snapshot of the heaps, for comparison. */
typedef struct {
    uint32_t internal_free;
    uint32_t psram_free;
    uint32_t blocks;
} heaps_t;

heaps_t heaps_now(void);
/* Compares two snapshots and reports each difference. */
void check_heaps(const char *what, heaps_t before, heaps_t after);

/* Makes the n-th allocation after this call fail, once (0: none). Counts the allocations of all components
 * and drivers. */
void fail_allocation(uint32_t nth);
/* True if that allocation was made to fail; disarms it. */
bool allocation_failed(void);

/* Allocates all free blocks of at least `limit` bytes with these capabilities. */
void take_blocks(uint32_t caps, uint32_t limit);
void give_blocks(void);

uint32_t elapsed_ms(int64_t since_us);
