/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Counts ESP-IDF calls, and makes them fail on purpose. In HIL builds the linker's --wrap puts wrappers
 * around the functions listed in idf_calls.def, so no component under test contains a hook.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Counts of objects allocated and not yet released, since boot. */
#define IDF_HELD(X)                           \
    X(IDF_QUEUES, queues)                     \
    X(IDF_WATCHED, watched)                   \
    X(IDF_IDLE_HOOKS, idle_hooks)             \
    X(IDF_FRAMES, frames)                     \
    X(IDF_I2S_CHANNELS, i2s_channels)         \
    X(IDF_I2S_RUNNING, i2s_running)           \
    X(IDF_WARNING_CALLBACKS, warning_calls)   \
    X(IDF_RECOVERY_CALLBACKS, recovery_calls) \
    X(IDF_RECLAIMERS, reclaimers)

#define IDF_HELD_ENTRY_(id, name) id,
typedef enum { IDF_HELD(IDF_HELD_ENTRY_) IDF_HELD_ } idf_held_t;

typedef struct {
    const char *call; /*!< function that is made to fail; NULL: none */
    uint32_t seen;    /*!< calls to the function since idf_calls_fail() */
    uint32_t failed;  /*!< how many of those calls were made to fail */
} idf_calls_state_t;

/** Number of objects of this kind; negative: more were released than allocated. */
int32_t idf_calls_held(idf_held_t what);

/** Name of a count in the reply to sys.resources. */
const char *idf_calls_held_name(idf_held_t what);

/** Level of a pin, as set by gpio_set_level(). */
typedef struct {
    bool is_high;
    uint32_t changes; /*!< including the first setting */
    uint32_t high_ms; /*!< length of its last high pulse, ms; 0 if there was none */
} idf_pin_t;

/** @return false if this pin was never set */
bool idf_calls_pin(uint32_t pin, idf_pin_t *out);

/** Level last set on the camera's power-down line; 1: the sensor is powered down; -1: never set. */
int idf_calls_camera_power_down(void);

/**
 * @brief Makes calls to this function fail. From now on, counts the calls by any task, from 1. Number `nth`
 * and the next `count - 1` fail.
 * @return false if this function cannot be made to fail; no state is changed then
 */
bool idf_calls_fail(const char *name, uint32_t nth, uint32_t count);

/** What a failing esp_camera_fb_get() returns: X(value, name). */
#define IDF_FRAMES_SPOILT(X)                                          \
    X(IDF_FRAME_NONE, none)     /* no frame */                        \
    X(IDF_FRAME_SHORT, cut)     /* only the first bytes */            \
    X(IDF_FRAME_START, start)   /* without the JPEG's start marker */ \
    X(IDF_FRAME_END, end)       /* without its end marker */          \
    X(IDF_FRAME_SIZE, size)     /* of another height */               \
    X(IDF_FRAME_STALE, stale)   /* captured long ago */               \
    X(IDF_FRAME_PADDED, padded) /* valid: with zeros after its end marker, as sensors send them */

#define IDF_FRAME_ENTRY_(id, name) id,
typedef enum { IDF_FRAMES_SPOILT(IDF_FRAME_ENTRY_) IDF_FRAMES_SPOILT_ } idf_frame_t;

/** Name of a kind of frame, as an argument of sys.fail. */
const char *idf_calls_frame_name(idf_frame_t frame);

/** Sets the kind of frame that failing calls to esp_camera_fb_get() return. idf_calls_disarm() resets it to
 * NONE. */
void idf_calls_spoil_frames(idf_frame_t frame);

void idf_calls_disarm(void);

idf_calls_state_t idf_calls_get_state(void);

/** @return name of the `index`-th function that can be made to fail; NULL after the last */
const char *idf_calls_name(size_t index);
