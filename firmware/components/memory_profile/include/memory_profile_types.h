/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Types of the allocation profile.
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Return addresses kept per call site. The first ones are often not of the caller: wrappers such as
 * pvPortMalloc(), functions of ESP-IDF such as xQueueGenericCreate(), and their wraps in the test console. */
#define MEMORY_PROFILE_FRAMES 8U

#define MEMORY_PROFILE_NAME_SIZE 16U /*!< bytes of a task's name with its NUL, as in FreeRTOS */

typedef enum {
    MEMORY_PROFILE_INTERNAL = 0,
    MEMORY_PROFILE_PSRAM,
    MEMORY_PROFILE_MEMORIES,
} memory_profile_memory_t;

/** What a task or a call site holds. Bytes are counted as by heap_caps: with padding, without headers. */
typedef struct {
    uint32_t bytes;       /*!< in use now */
    uint32_t blocks;      /*!< in use now */
    uint32_t peak;        /*!< most bytes in use at a time */
    uint32_t allocations; /*!< since the start; minus blocks: the frees */
} memory_profile_use_t;

/** What the tables could not hold. */
typedef struct {
    uint32_t bytes[MEMORY_PROFILE_MEMORIES];  /*!< in use now, in blocks that found no slot */
    uint32_t blocks[MEMORY_PROFILE_MEMORIES]; /*!< the number of these blocks */
    uint32_t no_slot;                         /*!< allocations that found no slot, since the start */
    uint32_t no_row;                          /*!< allocations that found no row, since the start */
    uint32_t no_task;                         /*!< allocations that found no task, since the start */
    uint32_t unknown_frees;                   /*!< frees of blocks that the profile never saw; 0 is right */
} memory_profile_loss_t;

#ifdef __cplusplus
}
#endif
