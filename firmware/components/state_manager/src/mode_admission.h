/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Admission check: whether a mode fits into memory. State task only.
 */
#pragma once

#include "state_manager.h"

typedef struct {
    const char *block; /*!< Purpose of the missing block */
    uint32_t caps;     /*!< Its capabilities */
    size_t number;     /*!< Which of the blocks with this purpose, counted from 1 */
    uint32_t missing;  /*!< Size of the missing block, bytes */
    uint32_t largest;  /*!< Largest free block, bytes */
    uint32_t free;     /*!< Total free bytes of that memory */
    uint32_t needed;   /*!< Total bytes of the drivers' blocks in that memory */
} mode_shortage_t;

/**
 * Checks whether all blocks of the mode can be allocated together, in addition to the memory in use.
 *
 * ESP_ERR_NO_MEM: they cannot; *shortage describes the first block that does not fit. The drivers' small
 * internal objects (about 1 KB in total) are not checked: if they do not fit, the step that allocates them
 * fails.
 */
esp_err_t mode_admit(system_state_t mode, mode_shortage_t *shortage);

/** True if enough memory is free in total for the mode's drivers, but their blocks cannot all be placed. Only
 * with CONFIG_HOTPIN_MEM_OPTIMIZE. */
bool mode_is_scattered(system_state_t mode);
