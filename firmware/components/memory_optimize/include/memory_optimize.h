/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Automatic optimisation: when memory is critically fragmented, runs the reclaimers, and then lets the
 * application restart the drivers of its current mode, so that their blocks move together.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Functions of the application. The struct must stay valid. */
typedef struct {
    /** Reserves the drivers for an attempt. False if anything uses them: tried again after the next steady
     * sample. */
    bool (*begin)(void);
    /** Restarts the drivers. A restart that fails must be undone. Called only after begin(). */
    esp_err_t (*restart)(void);
    /** Ends the reservation. */
    void (*end)(void);
    /** True if a set of blocks that another mode needs cannot be placed although enough memory is free in
     * total. NULL: not checked. */
    bool (*is_scattered)(void);
} memory_optimize_hooks_t;

typedef struct {
    bool enabled;
    bool gave_up;      //!< The last attempt did not help, and its cause is still present
    uint32_t attempts; //!< Since boot
    uint32_t helped;   //!< Attempts after which the cause had ended
    uint32_t check_us; //!< Longest check after a sample, microseconds
} memory_optimize_state_t;

/**
 * Starts to observe the memory manager's samples. The hooks must stay valid.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: begin, restart or end is missing
 *      - ESP_ERR_INVALID_STATE: already started, or the memory manager is not initialised
 */
esp_err_t memory_optimize_start(const memory_optimize_hooks_t *hooks);

/** Switches automatic optimisation on or off. Until this is called, CONFIG_HOTPIN_MEM_OPTIMIZE_AT_START
 * applies. */
void memory_manager_set_auto_optimize(bool enable);

/**
 * If a steady sample (memory_observation_t) has been taken since the last call, checks memory and makes an
 * attempt if it is due. Call it about once a second in the task of the application that may restart the
 * drivers. An attempt sends the event mem.optimized.
 */
void memory_optimize_run_pending(void);

void memory_optimize_get(memory_optimize_state_t *out);
size_t memory_optimize_static_size(void);

#ifdef __cplusplus
}
#endif
