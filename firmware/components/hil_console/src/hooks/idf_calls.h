/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Calls that are counted, and calls that fail on purpose. The linker's --wrap puts these functions in front
 * of the calls of idf_calls.def in HIL builds; no component under test carries a hook.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Counts of what was taken and not given back, since the start of the chip. */
#define IDF_HELD(X)                           \
    X(IDF_QUEUES, queues)                     \
    X(IDF_WATCHED, watched)                   \
    X(IDF_FRAMES, frames)                     \
    X(IDF_I2S_CHANNELS, i2s_channels)         \
    X(IDF_I2S_RUNNING, i2s_running)           \
    X(IDF_WARNING_CALLBACKS, warning_calls)   \
    X(IDF_RECOVERY_CALLBACKS, recovery_calls) \
    X(IDF_RECLAIMERS, reclaimers)

#define IDF_HELD_ENTRY_(id, name) id,
typedef enum { IDF_HELD(IDF_HELD_ENTRY_) IDF_HELD_ } idf_held_t;

typedef struct {
    const char *call; /*!< NULL: none is armed */
    uint32_t seen;    /*!< calls since it was armed */
    uint32_t failed;  /*!< of these, made to fail */
} idf_calls_state_t;

/** Objects of this kind that exist; negative: more were given back than taken. */
int32_t idf_calls_held(idf_held_t what);

/** Name of a count, as in the reply of sys.resources. */
const char *idf_calls_held_name(idf_held_t what);

/** Level that the camera's power-down line was last set to: 1 is off. -1: never set. */
int idf_calls_camera_power_down(void);

/**
 * @brief From now on, of the calls of this function by any task, the `nth` (from 1) and the `count - 1` after
 * it fail.
 * @return false if no such call can be made to fail; nothing is changed then
 */
bool idf_calls_fail(const char *name, uint32_t nth, uint32_t count);

void idf_calls_disarm(void);

idf_calls_state_t idf_calls_get_state(void);

/** The `index`-th call that can be made to fail, NULL after the last. */
const char *idf_calls_name(size_t index);
