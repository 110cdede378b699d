/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The allocation profile: the heap's memory in use, by task and by call site. Only with
 * CONFIG_HOTPIN_MEM_PROFILE, which is set in sdkconfig.profile; other builds do not contain its code.
 *
 * The profile counts from the first allocation after a reset. Its functions may be called by any task.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"
#include "memory_profile_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The blocks of one task from one call site in one memory type. */
typedef struct {
    char task[MEMORY_PROFILE_NAME_SIZE]; /*!< task that allocated the blocks; "(startup)": before the
                                            scheduler ran; "(isr)": an interrupt; "(other)": tasks
                                            that have no entry */
    memory_profile_memory_t memory;
    uint32_t frames[MEMORY_PROFILE_FRAMES]; /*!< return addresses, the allocator's caller first; 0 after the
                                               last */
    memory_profile_use_t use;
    int32_t bytes_since_mark;
    int32_t blocks_since_mark;
    uint32_t allocations_since_mark;
} memory_profile_site_t;

/** All blocks of one task. */
typedef struct {
    char task[MEMORY_PROFILE_NAME_SIZE];
    memory_profile_use_t use;
    int32_t bytes_since_mark;
    int32_t blocks_since_mark;
    uint32_t allocations_since_mark;
} memory_profile_task_t;

/** Cost of one pair of heap_caps_malloc() and heap_caps_free(). */
typedef struct {
    uint32_t with_ns;    /*!< with the profile */
    uint32_t without_ns; /*!< the same calls without the profile */
} memory_profile_cost_t;

/**
 * @brief Adds the blocks that the heap allocated for itself, without a call that the profile wraps.
 *
 * Call it first in app_main(), while no other task allocates. Afterwards the sum of all sites and of the
 * loss equals the allocated bytes that heap_caps reports.
 */
void memory_profile_start(void);

/**
 * @brief Reads a site. Sites are never removed and keep their index.
 * @param index 0, 1, … until the function returns false
 * @return false: there is no such site
 */
bool memory_profile_get_site(size_t index, memory_profile_site_t *site);

/** @brief Reads a task. `index` and the result are used as in memory_profile_get_site(). */
bool memory_profile_get_task(size_t index, memory_profile_task_t *task);

/** @brief Reads the counters of allocations that have no entry in the tables. */
void memory_profile_get_loss(memory_profile_loss_t *loss);

/** @brief Stores the current counters as the mark; the `since_mark` members are differences from it. Before
 * the first mark they count from the reset. */
void memory_profile_mark(void);

/** @return uptime of the last mark, ms; 0: no mark was set */
uint32_t memory_profile_marked_ms(void);

/**
 * @brief Measures the cost of the profile per pair of allocation and free.
 * @param pairs number of pairs, at least 1
 * @return ESP_OK; ESP_ERR_INVALID_ARG: pairs is 0, or cost is NULL; ESP_ERR_NO_MEM: no block for the
 * measurement
 */
esp_err_t memory_profile_measure(uint32_t pairs, memory_profile_cost_t *cost);

/** @return bytes of internal memory that the tables use; the profile uses no heap */
size_t memory_profile_static_bytes(void);

#ifdef __cplusplus
}
#endif
