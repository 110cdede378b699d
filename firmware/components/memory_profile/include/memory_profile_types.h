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

/** Return addresses kept per call site. The first addresses are often in wrappers such as pvPortMalloc(), in
 * functions of ESP-IDF such as xQueueGenericCreate(), or in the test console's wrappers. */
#define MEMORY_PROFILE_FRAMES 8U

#define MEMORY_PROFILE_NAME_SIZE 16U /*!< bytes of a task's name with its NUL, as in FreeRTOS */

typedef enum {
    MEMORY_PROFILE_INTERNAL = 0,
    MEMORY_PROFILE_PSRAM,
    MEMORY_PROFILE_MEMORIES,
} memory_profile_memory_t;

/** Memory use of a task or a call site. Bytes as heap_caps counts them: with padding, without headers. */
typedef struct {
    uint32_t bytes;       /*!< in use now */
    uint32_t blocks;      /*!< in use now */
    uint32_t peak;        /*!< most bytes in use at a time */
    uint32_t allocations; /*!< since boot; the number of frees is allocations - blocks */
} memory_profile_use_t;

/** What the tables had no room for: each block needs a slot, each call site a row, each task an entry. */
typedef struct {
    uint32_t bytes[MEMORY_PROFILE_MEMORIES];  /*!< in use now, in blocks without a slot */
    uint32_t blocks[MEMORY_PROFILE_MEMORIES]; /*!< the number of these blocks */
    uint32_t no_slot;                         /*!< allocations without a slot, since boot */
    uint32_t no_row;                          /*!< allocations without a row, since boot */
    uint32_t no_task;                         /*!< allocations by a task without an entry, since boot */
    uint32_t unknown_frees;                   /*!< frees of blocks that were never counted; must be 0 */
} memory_profile_loss_t;

#ifdef __cplusplus
}
#endif
