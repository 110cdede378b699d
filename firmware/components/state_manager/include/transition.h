/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A transition: a list of named steps, each with its undo, run in order, with a ledger of the free memory
 * before and after each. When a step fails, the steps before it are undone in reverse order.
 *
 * Pure: no IDF header but esp_err.h, no allocation, no static state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TRANSITION_STEPS_MAX 8
#define TRANSITION_ENTRIES_MAX (2 * TRANSITION_STEPS_MAX) //!< Each step and its undo

typedef struct {
    const char *name;
    esp_err_t (*run)(void);  //!< Must change nothing if it fails
    esp_err_t (*undo)(void); //!< NULL: nothing to undo
} transition_step_t;

/** Free bytes at one moment. */
typedef struct {
    uint32_t internal;
    uint32_t psram;
} transition_memory_t;

/** One step or undo. */
typedef struct {
    const char *step;
    bool undo;
    esp_err_t err;
    transition_memory_t before;
    transition_memory_t after;
} transition_entry_t;

/** Steps and undos, in order of execution. */
typedef struct {
    transition_entry_t entries[TRANSITION_ENTRIES_MAX];
    size_t count;
} transition_ledger_t;

typedef struct {
    /** Called before each step and each undo; if it returns an error, the step is not run and counts as
     * failed. */
    esp_err_t (*enter)(const char *step, bool undo);
    transition_memory_t (*measure)(void);
} transition_env_t;

typedef enum {
    TRANSITION_DONE,   //!< All steps have run
    TRANSITION_UNDONE, //!< A step failed; everything is as before
    TRANSITION_STUCK,  //!< A step failed, and then an undo failed: the state is undefined
} transition_end_t;

/**
 * Runs the steps. The first undo that fails ends the transition, since the remaining undos rely on it. A
 * transition of more than TRANSITION_STEPS_MAX steps is not started: the result is UNDONE, with an empty
 * ledger.
 */
transition_end_t transition_run(const transition_step_t *steps, size_t count, const transition_env_t *env,
                                transition_ledger_t *ledger);

/** The step that failed first, or NULL. */
const transition_entry_t *transition_failure(const transition_ledger_t *ledger);

#ifdef __cplusplus
}
#endif
