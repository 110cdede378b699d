/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * State manager: the mode of the board, and the transitions between modes.
 *
 *     INIT -> CAMERA_STANDBY <-> VOICE_ACTIVE        ERROR -> a mode, by recovery        any -> SHUTDOWN
 *
 * One task changes modes. Before each change it checks that the blocks of the requested mode can be
 * allocated in addition to those of the current mode, so that every change can be undone. After a failed
 * step, the steps before it are undone in reverse order. If that also fails, the state is ERROR, and the task
 * closes the TTS stream, stops all drivers and starts the former mode again.
 *
 * If requests arrive faster than modes change, the last one counts.
 *
 * The free memory after a mode's first entry is the baseline of that mode ("camera", "voice"), see
 * memory_manager_get_baseline(). The entry at boot does not count.
 *
 * Unless stated otherwise, functions may be called from any task, but not from an interrupt, and return
 * ESP_ERR_INVALID_STATE before state_manager_start().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"
#include "transition.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    SYSTEM_STATE_INIT, //!< No driver is running: before the first mode, or if it could not be entered
    SYSTEM_STATE_CAMERA_STANDBY,
    SYSTEM_STATE_VOICE_ACTIVE,
    SYSTEM_STATE_ERROR,    //!< A change failed, and so did its undo
    SYSTEM_STATE_SHUTDOWN, //!< Drivers are stopped permanently
    SYSTEM_STATES_,
} system_state_t;

#define SYSTEM_STATE_ANY SYSTEM_STATES_ //!< For state_manager_lock(): in any state

/** Result of a change of state. */
typedef struct {
    system_state_t from;
    system_state_t to; //!< The requested state, whether it was reached or not
    esp_err_t err;
    const char *step;     //!< The failed step, see state_manager_step_name(); NULL: none
    const char *block;    //!< Purpose of the missing block; NULL: unknown, or no memory was missing
    uint32_t missing;     //!< Bytes of the missing block or first failed allocation; 0: none
    uint32_t largest;     //!< Bytes of the largest free block; set only with block
    uint32_t duration_ms; //!< Including failed and undone steps
} state_change_t;

typedef struct {
    system_state_t state;
    system_state_t previous; //!< The state before the current one
    bool busy;               //!< A request is pending, or a change is in progress
    uint32_t transitions;    //!< Successful changes of state since boot
    uint32_t cycles;         //!< Successful changes from voice to camera mode since boot
    uint32_t failures;       //!< Failed and refused changes since boot
    state_change_t last;     //!< The last change, successful or not
    state_change_t failed;   //!< The last failed change; recovery may have followed
} state_manager_info_t;

/** Pauses in a mode change, in ms; at most STATE_MANAGER_SETTLE_MAX_MS each. */
typedef struct {
    uint32_t down_ms; //!< After the old mode's drivers have stopped
    uint32_t up_ms;   //!< After the new mode's drivers have started
} state_manager_settle_t;

#define STATE_MANAGER_SETTLE_MAX_MS 10000

/* clang-format off */
#define STATE_MANAGER_SETTLE_DEFAULT() \
    { .down_ms = CONFIG_HOTPIN_STATE_SETTLE_DOWN_MS, .up_ms = CONFIG_HOTPIN_STATE_SETTLE_UP_MS }
/* clang-format on */

/** Called once, by the state task; see state_manager_start(). */
typedef void (*state_manager_started_t)(void);

/**
 * Allocates the STT ring and the pool of audio chunks, which are never freed, and starts the task in state
 * INIT. Call it after memory_manager_init(). If the ring cannot be allocated, the task starts anyway, and
 * tries again at each request for voice mode. Also registers a reclaimer that closes a TTS stream that has
 * been played, and starts automatic optimisation, if it is configured.
 *
 * started (NULL: none) is called when the first request is done, the calling task has ended, and its memory
 * is free. After that, start-up no longer changes the heap.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already called
 *      - ESP_ERR_NO_MEM: no memory for the task
 */
esp_err_t state_manager_start(state_manager_started_t started);

/**
 * Requests CAMERA_STANDBY, VOICE_ACTIVE or SHUTDOWN, and waits up to wait_ms until the request is done (0:
 * does not wait).
 *
 * @return
 *      - ESP_OK: the requested state is reached or, with wait_ms 0, the request is queued
 *      - ESP_ERR_INVALID_ARG: this state cannot be requested
 *      - ESP_ERR_TIMEOUT: not done yet; the change continues
 *      - ESP_ERR_INVALID_STATE: not started, superseded by a later request, or the board is shut down
 *      - any other error: the reason for the failure; state_manager_change() gives the details
 */
esp_err_t state_manager_request(system_state_t to, uint32_t wait_ms);

/**
 * Like state_manager_request(). If the change failed, *failed describes the change, not a recovery after it.
 * In all other cases failed->step is NULL.
 */
esp_err_t state_manager_change(system_state_t to, uint32_t wait_ms, state_change_t *failed);

esp_err_t state_manager_get(state_manager_info_t *out);

/** Ledger of the last change of state in which a step ran: its steps, with the free memory before and after
 * each. The steps lock, recovery and admission do not count, and are not included. */
esp_err_t state_manager_get_ledger(transition_ledger_t *out);

/**
 * Name of step number `index` of a change: "lock", then "recovery" (only from ERROR), "admission", and the
 * steps of the two modes. NULL after the last step, or if there is no such change. May be called before
 * start.
 */
const char *state_manager_step_name(system_state_t from, system_state_t to, size_t index);

/** Sets the callback that gets the name of each step before it starts. Call it before
 * state_manager_start(). */
void state_manager_on_step(void (*on_step)(const char *step, bool undo));

/**
 * Locks the drivers for one task: the state does not change between lock and unlock. Changes of state fail if
 * they wait for the lock longer than CONFIG_HOTPIN_STATE_LOCK_TIMEOUT_MS. Also hold this lock to open, write,
 * play or close the TTS stream, because leaving voice mode closes the stream.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: not started, or not in this state; nothing is locked
 *      - ESP_ERR_TIMEOUT: a change is in progress, or another task holds the lock; nothing is locked
 */
esp_err_t state_manager_lock(system_state_t state, uint32_t timeout_ms);
void state_manager_unlock(void);

/** Sets the pauses (NULL: the Kconfig values), starting with the next change. May be called before start.
 * ESP_ERR_INVALID_ARG: a pause is too long. */
esp_err_t state_manager_set_settle(const state_manager_settle_t *settle);
void state_manager_get_settle(state_manager_settle_t *out);

/** "init", "camera", "voice", "error", "shutdown"; "?" if state is invalid. */
const char *state_manager_name(system_state_t state);

#ifdef __cplusplus
}
#endif
