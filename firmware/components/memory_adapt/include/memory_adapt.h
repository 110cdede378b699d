/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Adaptive thresholds: warning thresholds learned from the normal memory use of each application state.
 *
 * While a state (memory_manager_set_state()) is steady, its learned warning thresholds replace those of the
 * manager that are lower. So the manager raises its ordinary warnings when a state uses more memory than
 * usual, even if free memory is still above the fixed thresholds. Critical thresholds do not change.
 *
 * Learned thresholds survive a reset, but not a loss of power or a firmware update.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_ADAPT_STATES_MAX 2
#define MEMORY_ADAPT_NAME_SIZE 12 //!< Including the terminator; states with longer names are not learned

/** Learned values of one state. Sizes in bytes. */
typedef struct {
    char state[MEMORY_ADAPT_NAME_SIZE];
    uint32_t windows;  //!< Windows learned from so far
    bool learned;      //!< Enough windows were learned; the thresholds apply
    uint32_t internal; //!< Warning thresholds: lowest free memory so far, minus a margin
    uint32_t dma;
    uint32_t psram;
} memory_adapted_t;

/**
 * Starts to learn, unless CONFIG_HOTPIN_MEM_ADAPT_AT_START is off. Call it after memory_manager_init().
 * ESP_ERR_INVALID_STATE: the memory manager is not initialised, or already started.
 */
esp_err_t memory_adapt_start(void);

/** Switches learning and learned thresholds on or off, from the next sample. Learned values are kept. */
void memory_adapt_enable(bool enable);
bool memory_adapt_is_enabled(void);

/** Forgets all learned values, at the next sample. */
void memory_adapt_reset(void);

/** Copies the learned values of all states; *count is the number written to out. ESP_ERR_INVALID_STATE: not
 * started; ESP_ERR_INVALID_ARG: count is NULL, or out is NULL although max is not 0. */
esp_err_t memory_adapt_get(memory_adapted_t *out, size_t max, size_t *count);

size_t memory_adapt_static_size(void); //!< Bytes of internal memory
size_t memory_adapt_rtc_size(void);

#ifdef __cplusplus
}
#endif
