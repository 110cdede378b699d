/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reclaimers: functions that free memory that their component does not need. They run automatically when
 * memory runs short: when a level is entered, when an allocation of a watched kind fails, and before a
 * component refuses a request because memory is missing.
 *
 * A reclaimer never runs in an interrupt, or while another reclaimer is running. Callbacks of the memory
 * manager must not call memory_reclaim_for() or _until(). Sizes are in bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_RECLAIM_KINDS_MAX 4 //!< Kinds of allocations that can be watched
#define MEMORY_RECLAIM_LOG_SIZE 8  //!< Runs kept for memory_reclaim_get_log()
#define MEMORY_RECLAIM_IDLE_MAX 3  //!< Number of runs without gain before a reclaimer is skipped

/** Why reclaimers run, mildest first. */
typedef enum {
    MEMORY_RECLAIM_LOW,      //!< Free memory fell below the warning threshold
    MEMORY_RECLAIM_CRITICAL, //!< Free memory fell below the critical threshold
    MEMORY_RECLAIM_FAILURE,  //!< An allocation of a watched kind failed
    MEMORY_RECLAIM_REFUSAL,  //!< A component needs memory: memory_reclaim_for() or _until()
    MEMORY_RECLAIM_REQUEST,  //!< memory_manager_optimize(); reclaimers run later if the monitor task calls it
    MEMORY_RECLAIM_TRIGGERS_,
} memory_reclaim_trigger_t;

/** One reclaimer. The struct must stay valid while it is registered. */
typedef struct memory_reclaim {
    const char *name;
    void (*reclaim)(void);
    uint32_t (*available)(void);   //!< Bytes that reclaim() would free now; if 0, it is not run. May be NULL
    uint32_t caps;                 //!< Memory that it frees: MALLOC_CAP_INTERNAL or MALLOC_CAP_SPIRAM
    uint16_t cost;                 //!< Reclaimers run in ascending order of cost, then of registration
    memory_reclaim_trigger_t from; //!< Mildest trigger at which it runs
    /* Set by the component: */
    uint8_t idle;    //!< Runs without gain since the last gain
    uint32_t runs;   //!< Runs since it was registered
    uint32_t gained; //!< Bytes freed since it was registered
    struct memory_reclaim *next;
} memory_reclaim_t;

/** One run of a reclaimer. */
typedef struct {
    uint32_t timestamp_ms;
    const char *name;
    memory_reclaim_trigger_t trigger;
    uint32_t gain; //!< Increase of free memory with its capabilities, including changes by other tasks
} memory_reclaim_use_t;

/** True when enough memory is available. Called after each reclaimer; before the first one, the caller
 * checks. */
typedef bool (*memory_reclaim_enough_t)(void *context);

/**
 * Starts to observe the memory manager's samples, and lets memory_manager_optimize() run the reclaimers.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already started, or the memory manager is not initialised
 *      - ESP_ERR_NO_MEM: the memory manager has no free slot for a reclaimer
 */
esp_err_t memory_reclaim_start(void);

/**
 * Registers a reclaimer. Waits while reclaimers are running.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: no name, function or capabilities, or an unknown trigger
 *      - ESP_ERR_INVALID_STATE: the struct is in use, or called by a reclaimer
 */
esp_err_t memory_reclaim_register(memory_reclaim_t *reclaimer);
/** Removes a reclaimer. Waits while reclaimers are running. ESP_ERR_NOT_FOUND: not registered;
 * ESP_ERR_INVALID_STATE: called by a reclaimer. */
esp_err_t memory_reclaim_unregister(memory_reclaim_t *reclaimer);

/**
 * Runs the reclaimers of this memory type, cheapest first, until one block of `size` bytes can be allocated.
 * Call it where an allocation or a check failed; then try again once.
 *
 * @return true if a reclaimer ran and such a block can be allocated now; otherwise false, in particular if
 * reclaimers are already running, or if the caller is an interrupt
 */
bool memory_reclaim_for(uint32_t caps, size_t size);
/** As memory_reclaim_for(), but until `enough(context)` is true. If enough is NULL, runs all reclaimers of
 * this memory type and returns false. */
bool memory_reclaim_until(uint32_t caps, memory_reclaim_enough_t enough, void *context);

/**
 * Runs the reclaimers for what has happened since the last call: levels that were entered, watched
 * allocations that failed, and calls to memory_manager_optimize() in the monitor task. One task of the
 * application must call it about once a second; the call is cheap if nothing happened.
 */
void memory_reclaim_run_pending(void);

/**
 * Watches allocations of this kind: at least `size` bytes with all of these capabilities. If one fails, the
 * reclaimers run in the next memory_reclaim_run_pending(), so that a later attempt can succeed.
 *
 * @return ESP_OK; ESP_ERR_INVALID_ARG: caps is 0; ESP_ERR_NO_MEM: MEMORY_RECLAIM_KINDS_MAX kinds are watched
 */
esp_err_t memory_reclaim_watch(uint32_t caps, size_t size);

/** Copies the last runs, newest first. @return number written to out */
size_t memory_reclaim_get_log(memory_reclaim_use_t *out, size_t max);
/** Copies the reclaimers in the order in which they run. @return number written to out; 0 if called by a
 * reclaimer */
size_t memory_reclaim_get_all(memory_reclaim_t *out, size_t max);

/** "low", "critical", "failure", "refusal", "request"; "?" if trigger is invalid. */
const char *memory_reclaim_trigger_name(memory_reclaim_trigger_t trigger);

/** Bytes of internal memory that this component uses. */
size_t memory_reclaim_static_size(void);

#ifdef __cplusplus
}
#endif
