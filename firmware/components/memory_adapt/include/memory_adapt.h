/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Adaptive thresholds: warning thresholds learned from what each state of the application normally uses.
 *
 * While a state (memory_manager_set_state()) is steady, its learned warning thresholds replace those of the
 * manager that are lower. So the manager raises its ordinary warnings when a state takes more memory than
 * usual, although the fixed thresholds still hold. Critical thresholds do not change.
 *
 * What is learned survives a reset, but not a loss of power, and is dropped when the firmware is another one.
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

/** What is known about one state. Sizes in bytes. */
typedef struct {
    char state[MEMORY_ADAPT_NAME_SIZE];
    uint32_t windows;  //!< Windows learned from so far
    bool learned;      //!< There were enough windows; the thresholds apply
    uint32_t internal; //!< Warning thresholds: lowest free memory so far, minus a margin
    uint32_t dma;
    uint32_t psram;
} memory_adapted_t;

/**
 * Starts to learn, unless CONFIG_HOTPIN_MEM_ADAPT_AT_START is off. To be called after memory_manager_init().
 * ESP_ERR_INVALID_STATE: called before it, or twice.
 */
esp_err_t memory_adapt_start(void);

/** Learns and applies thresholds from the next sample on; false: neither. What is learned is kept. */
void memory_adapt_enable(bool enable);
bool memory_adapt_is_enabled(void);

/** Forgets all that is learned, at the next sample. */
void memory_adapt_reset(void);

/** *count is the number of states written to out. ESP_ERR_INVALID_STATE: not started. */
esp_err_t memory_adapt_get(memory_adapted_t *out, size_t max, size_t *count);

size_t memory_adapt_static_size(void); //!< Bytes of internal memory
size_t memory_adapt_rtc_size(void);

#ifdef __cplusplus
}
#endif
