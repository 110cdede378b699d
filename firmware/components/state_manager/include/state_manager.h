/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * State manager: which mode the board is in, and the way from one to the other.
 *
 *     INIT -> CAMERA_STANDBY <-> VOICE_ACTIVE        ERROR -> a mode, by recovery        any -> SHUTDOWN
 *
 * One task changes modes. Before it touches anything it makes sure that the blocks of the mode asked for can
 * be had beside what is held now, so that a change which is begun can also be undone. A step that fails is
 * followed by the undoing of those before it, in reverse order; where that fails too, the state is ERROR, and
 * the task takes everything down and brings the former mode up anew.
 *
 * Of requests that come faster than modes change, the last one counts.
 *
 * Unless a function says otherwise it may be called from any task, but not from an interrupt, and before
 * state_manager_start() returns ESP_ERR_INVALID_STATE.
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
    SYSTEM_STATE_INIT, //!< No mode's drivers are up. Also after a first mode that could not be entered
    SYSTEM_STATE_CAMERA_STANDBY,
    SYSTEM_STATE_VOICE_ACTIVE,
    SYSTEM_STATE_ERROR,    //!< A change failed, and so did its undoing
    SYSTEM_STATE_SHUTDOWN, //!< Drivers are down for good
    SYSTEM_STATES_,
} system_state_t;

#define SYSTEM_STATE_ANY SYSTEM_STATES_ //!< For state_manager_lock()

/** What became of a change of state. */
typedef struct {
    system_state_t from;
    system_state_t to; //!< As asked for, reached or not
    esp_err_t err;
    const char *step;     //!< That failed, see state_manager_step_name(); NULL: none did
    const char *block;    //!< What the missing block is for; NULL: not known, or no memory was missing
    uint32_t missing;     //!< Bytes of the block that could not be had; 0: no memory was missing
    uint32_t largest;     //!< The largest free block in its place; only with block
    uint32_t duration_ms; //!< With what failed and was undone
} state_change_t;

typedef struct {
    system_state_t state;
    system_state_t previous; //!< The state before the present one
    bool busy;               //!< Something was asked for and is not settled yet
    uint32_t transitions;    //!< Changes of state that succeeded, since boot
    uint32_t cycles;         //!< Of these, from voice to camera mode
    uint32_t failures;       //!< Changes that failed or were refused
    state_change_t last;     //!< Change, whatever became of it
    state_change_t failed;   //!< The last one that failed; recovery may have come after it
} state_manager_info_t;

/** Pauses in a change of mode, in ms; at most STATE_MANAGER_SETTLE_MAX_MS each. */
typedef struct {
    uint32_t down_ms; //!< After the old mode's drivers are down
    uint32_t up_ms;   //!< After the new mode's are up
} state_manager_settle_t;

#define STATE_MANAGER_SETTLE_MAX_MS 10000

/* clang-format off */
#define STATE_MANAGER_SETTLE_DEFAULT() \
    { .down_ms = CONFIG_HOTPIN_STATE_SETTLE_DOWN_MS, .up_ms = CONFIG_HOTPIN_STATE_SETTLE_UP_MS }
/* clang-format on */

/** Called once, by the state task. */
typedef void (*state_manager_started_t)(void);

/**
 * Makes the STT ring, which is held for the whole run, and starts the task in state INIT. After
 * memory_manager_init().
 * started (NULL: none) is called when the first request is settled, the task that has called this has ended,
 * and that task's memory is free: from then on nothing of the start changes the heap.
 * ESP_ERR_INVALID_STATE: called already; ESP_ERR_NO_MEM: no room for the task (without the ring it starts;
 * voice mode is then refused).
 */
esp_err_t state_manager_start(state_manager_started_t started);

/**
 * Asks for CAMERA_STANDBY, VOICE_ACTIVE or SHUTDOWN, and waits up to wait_ms until the manager has settled
 * (0: does not wait).
 *
 * ESP_OK: the state is the one asked for, or, with wait_ms 0, the request is on its way.
 * ESP_ERR_INVALID_ARG: no state to be asked for. ESP_ERR_TIMEOUT: not settled yet, it goes on.
 * ESP_ERR_INVALID_STATE: another request came after this one and counts instead, or the board is shut down.
 * Else why the change failed; state_manager_get() tells more.
 */
esp_err_t state_manager_request(system_state_t to, uint32_t wait_ms);

esp_err_t state_manager_get(state_manager_info_t *out);

/** The steps of the last change of state that was begun, with the free memory around each. */
esp_err_t state_manager_get_ledger(transition_ledger_t *out);

/**
 * The steps of a change in their order: "lock", from ERROR "recovery", "admission", then those of the modes.
 * NULL: not that many, or there is no such change. May be called before start.
 */
const char *state_manager_step_name(system_state_t from, system_state_t to, size_t index);

/**
 * Keeps the drivers in place while they are used: no change of state comes between lock and unlock, and one
 * task at a time has them. Not for longer than CONFIG_HOTPIN_STATE_LOCK_TIMEOUT_MS: after that, changes fail.
 * The TTS stream is opened, written, played and closed under it too: leaving voice mode closes it.
 * ESP_ERR_INVALID_STATE: not in this state, nothing is locked. ESP_ERR_TIMEOUT: a change is under way.
 */
esp_err_t state_manager_lock(system_state_t state, uint32_t timeout_ms);
void state_manager_unlock(void);

/** From the next change on. NULL: back to what Kconfig says. ESP_ERR_INVALID_ARG: too long. */
esp_err_t state_manager_set_settle(const state_manager_settle_t *settle);
void state_manager_get_settle(state_manager_settle_t *out);

/** "init", "camera", "voice", "error", "shutdown"; "?" for no state. */
const char *state_manager_name(system_state_t state);

#ifdef __cplusplus
}
#endif
