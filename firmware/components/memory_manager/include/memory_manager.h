/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory manager: statistics, threshold warnings and memory logs.
 *
 * Unless stated otherwise, functions may be called from any task, but not from an interrupt. Before
 * memory_manager_init() they return ESP_ERR_INVALID_STATE. A call that returns ESP_ERR_INVALID_ARG has no
 * effect. Sizes are in bytes, times in ms since boot; 1 KB is 1,024 bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"
#include "memory_fields.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_CALLBACKS_MAX 8 //!< Maximum number of warning callbacks, and of recovery callbacks
#define MEMORY_RECLAIMERS_MAX 4
#define MEMORY_STATES_MAX 4       //!< Maximum number of baselines, besides the baseline of init
#define MEMORY_STATE_NAME_SIZE 12 //!< Including the terminator
#define MEMORY_CONTEXT_SIZE 32    //!< Including the terminator; a longer context is truncated
#define MEMORY_PLACE_MAX 16       //!< Maximum number of blocks in one call to memory_manager_place()
#define MEMORY_HISTORY_SIZE 16    //!< Snapshots kept of this boot, and of the previous one
#define MEMORY_EVENTS_SIZE 8      //!< Events kept

/** One sample. All fields are uint32_t; memory_fields.h lists them with their units. */
typedef struct {
#define MEMORY_STATS_MEMBER_(field, section, row) uint32_t field;
    MEMORY_STATS_FIELDS(MEMORY_STATS_MEMBER_)
#undef MEMORY_STATS_MEMBER_
} memory_stats_t;

/**
 * Warning thresholds. Memory: bytes; a level is entered below the threshold, and left at the threshold plus
 * the larger of a tenth of it and 1 KB. Fragmentation: percent; a level is entered at or above the threshold,
 * and left 5 points below it.
 *
 * The critical level supersedes the warning: if both are entered in one check, only the critical one is
 * raised. When it is left, the warning is raised if its own threshold is still reached. One check
 * reports internal, DMA, PSRAM and fragmentation in this order, and for each the critical level first.
 */
typedef struct {
    uint32_t internal_ram_warning;
    uint32_t internal_ram_critical;
    uint32_t dma_capable_warning;
    uint32_t dma_capable_critical;
    uint32_t psram_warning;
    uint32_t psram_critical;
    uint32_t fragmentation_warning;
    uint32_t fragmentation_critical;
} memory_thresholds_t;

/* clang-format off: one memory type per line */
#define MEMORY_THRESHOLDS_DEFAULT()                                                                       \
    {                                                                                                     \
        .internal_ram_warning = 50 * 1024, .internal_ram_critical = 20 * 1024,                            \
        .dma_capable_warning = 35 * 1024, .dma_capable_critical = 20 * 1024, .psram_warning = 500 * 1024, \
        .psram_critical = 200 * 1024, .fragmentation_warning = 30, .fragmentation_critical = 50,          \
    }
/* clang-format on */

typedef enum {
    MEMORY_WARNING_INTERNAL_LOW,
    MEMORY_WARNING_INTERNAL_CRITICAL,
    MEMORY_WARNING_DMA_LOW,
    MEMORY_WARNING_DMA_CRITICAL,
    MEMORY_WARNING_PSRAM_LOW,
    MEMORY_WARNING_PSRAM_CRITICAL,
    MEMORY_WARNING_FRAGMENTATION_HIGH, //!< Of the worst memory; warning or critical: see threshold_value
    MEMORY_WARNING_TYPES_,
} memory_warning_type_t;

typedef struct {
    memory_warning_type_t type;
    uint32_t timestamp_ms;
    uint32_t current_value; //!< Bytes free, or percent
    uint32_t threshold_value;
} memory_warning_t;

/**
 * Called by the task that detects the change (usually the monitor task) with no lock held, so it may use this
 * API. The monitor's stack of 2 KB is too small for printf and ESP_LOGx, but large enough for
 * memory_manager_log_stats().
 */
typedef void (*memory_warning_callback_t)(const memory_warning_t *warning);

/** One periodic sample, as passed to the observers. */
typedef struct {
    const memory_stats_t *stats;
    const char *state; //!< As set by memory_manager_set_state(); "": none, or a change is in progress
    bool steady;       //!< The state was the same during the whole window of the watermarks
    bool low;          //!< At least one warning level is active (with hysteresis)
    bool critical;     //!< At least one critical level is active (with hysteresis)
} memory_observation_t;

/** Frees memory that its component does not need. The manager measures the freed bytes. */
typedef void (*memory_reclaimer_t)(void);

/** Free bytes at the time of the baseline: internal, dma, psram, total. */
typedef struct {
    uint32_t timestamp_ms;
#define MEMORY_BASELINE_MEMBER_(field, label, stats_field) uint32_t field;
    MEMORY_BASELINE_FIELDS(MEMORY_BASELINE_MEMBER_)
#undef MEMORY_BASELINE_MEMBER_
} memory_baseline_t;

/** Current free memory minus the baseline, in bytes; negative if less is free. */
typedef struct {
#define MEMORY_DELTA_MEMBER_(field, label, stats_field) int32_t field;
    MEMORY_BASELINE_FIELDS(MEMORY_DELTA_MEMBER_)
#undef MEMORY_DELTA_MEMBER_
} memory_delta_t;

/** One logged sample. */
typedef struct {
    uint32_t sequence; //!< Counts from 1 at each boot
    memory_stats_t stats;
    memory_delta_t delta; //!< Difference from the baseline at that time
    char context[MEMORY_CONTEXT_SIZE];
} memory_snapshot_t;

/**
 * Callbacks of an extension; NULL: none. They are called with no lock held. Their arguments are valid only
 * during the call.
 */
typedef struct memory_observer {
    /** Called by the monitor task after each periodic sample and its warnings. The same limits apply as to a
     * warning callback. */
    void (*observe)(const memory_observation_t *observation);
    /** Called by the checking task before each check, so that it can change the thresholds of this check.
     * `low` and `critical` are not known yet. */
    void (*adapt)(const memory_observation_t *observation, memory_thresholds_t *thresholds);
    /** Called by the task that sets the application's state; `state` is "" when a change starts. */
    void (*entered)(const char *state);
    /** Called after the warning callbacks, by the same task. */
    void (*warned)(const memory_warning_t *warning);
    /** Called for each new snapshot by the task that logs it; for periodic samples, by the monitor task. Must
     * not log. */
    void (*logged)(const memory_snapshot_t *snapshot);
    /** Called by the task of the failed allocation, even while the flash cache is off: must be in IRAM, and
     * must not lock, allocate or print. `function` is a static string in flash. */
    void (*failed)(uint32_t size, uint32_t caps, const char *function);
    struct memory_observer *next; //!< Set by memory_manager_register_observer()
} memory_observer_t;

typedef enum {
    MEMORY_EVENT_WARNING,
    MEMORY_EVENT_RECOVERED,
    MEMORY_EVENT_ALLOC_FAILED,
} memory_event_kind_t;

typedef struct {
    uint32_t sequence; //!< Counts from 1 at each boot
    uint32_t timestamp_ms;
    memory_event_kind_t kind;
    union {
        struct { //!< WARNING, RECOVERED
            memory_warning_type_t type;
            uint32_t value;
            uint32_t threshold;
        };
        struct { //!< ALLOC_FAILED
            uint32_t size;
            uint32_t caps;
            const char *function; //!< The heap function that failed
        };
    };
} memory_event_t;

typedef struct {
    bool running;
    uint32_t interval_ms; //!< 0 when not running
    uint32_t samples;     //!< Periodic samples since boot
} memory_monitoring_t;

typedef struct {
    bool placeable;   //!< All the blocks can be allocated together, in this order
    size_t placed;    //!< Number of leading blocks that fit
    uint32_t missing; //!< Size of the first block that does not fit; 0 if all fit
    uint32_t largest; //!< Largest block that could be allocated in its place
} memory_placement_t;

/** Findings of memory_manager_optimize(): bit numbers in `advice`. */
typedef enum {
    MEMORY_ADVICE_INTERNAL_PRESSURE,
    MEMORY_ADVICE_DMA_PRESSURE,
    MEMORY_ADVICE_PSRAM_PRESSURE,
    MEMORY_ADVICE_INTERNAL_FRAGMENTED,
    MEMORY_ADVICE_RESTART_AUDIO, //!< DMA fragmentation is 40 % or more
    MEMORY_ADVICE_PSRAM_FRAGMENTED,
    MEMORY_ADVICE_KINDS_,
} memory_advice_t;

typedef struct {
    uint32_t advice;   //!< Bit n is set if memory_advice_t n applies
    int32_t reclaimed; //!< Increase of total_free while the reclaimers ran, including changes by other tasks
} memory_optimize_report_t;

typedef struct {
    uint32_t bytes_internal; //!< Sum of the following, except bytes_rtc
    uint32_t bytes_static;
    uint32_t bytes_task; //!< Stack, control block and their headers; 0 if there is no monitor task
    uint32_t bytes_rtc;  //!< Snapshots and events, in RTC memory, which is not heap
    uint32_t stack_size;
    uint32_t stack_unused;      //!< Bytes never used since the task started; 0 if there is no task
    uint32_t cpu_us_per_sample; //!< Mean time of a periodic sample with its threshold check
    uint32_t samples;
} memory_self_t;

/** The previous boot, with the snapshots that survived the reset. */
typedef struct {
    uint32_t boot_count;
    uint32_t boot_id;
} memory_last_boot_t;

/* --- Starting --- */

/**
 * Starts the memory manager. Call it after telemetry_init(), through which the manager writes its output.
 *
 * Sets the thresholds (NULL: MEMORY_THRESHOLDS_DEFAULT), starts the low-water marks, registers ESP-IDF's
 * failed-allocation callback, and sets the baseline.
 *
 * ESP-IDF has only one failed-allocation callback; the application must not register another. The manager
 * also resets the heap's low-water mark at each periodic sample, so heap_caps_get_minimum_free_size()
 * returns the minimum since the last periodic sample, no longer since boot.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: a critical level is above its warning level (fragmentation: below it), or a
 *        percentage is above 100
 *      - ESP_ERR_INVALID_STATE: already initialised
 *      - other errors from ESP-IDF's heap
 */
esp_err_t memory_manager_init(const memory_thresholds_t *thresholds);

/**
 * Starts the monitor task, which samples every interval_ms; the first sample is taken one interval from now.
 * If the task is running, changes the interval. Samples are due at multiples of the interval, so their times
 * do not drift. If the task is late by several intervals, it takes one sample and skips the others.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_INVALID_ARG: interval_ms is below CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS
 *      - ESP_ERR_NO_MEM: no memory for the task
 */
esp_err_t memory_manager_start_monitoring(uint32_t interval_ms);

/**
 * Stops monitoring. Returns when the monitor task has written all queued output and has ended. If a callback
 * in the monitor task calls it, it only requests the end: the task ends after the callback has returned.
 *
 * @return ESP_OK, even if monitoring is off; ESP_ERR_INVALID_STATE: not initialised
 */
esp_err_t memory_manager_stop_monitoring(void);
esp_err_t memory_manager_get_monitoring(memory_monitoring_t *out);

/* --- Queries. Each reads the heap. All but memory_manager_get_stats() also work before init. --- */

esp_err_t memory_manager_get_stats(memory_stats_t *out);
uint32_t memory_manager_get_free_internal(void);
uint32_t memory_manager_get_free_dma(void);
uint32_t memory_manager_get_free_psram(void);

/** Highest fragmentation of the three memory types in `stats`, percent. Does not read the heap. */
uint32_t memory_manager_worst_fragmentation(const memory_stats_t *stats);

/**
 * True if and only if heap_caps_malloc(size, MALLOC_CAP_DMA) (below: MALLOC_CAP_SPIRAM) would succeed now.
 * The check is for one contiguous block, not for the total of free memory.
 */
bool memory_manager_check_dma_available(size_t size);
bool memory_manager_check_psram_available(size_t size);

/**
 * Reports whether these blocks, at most MEMORY_PLACE_MAX, can be allocated together, and the first block that
 * does not fit.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: unknown capabilities, no or too many blocks, or a NULL pointer
 */
esp_err_t memory_manager_place(uint32_t caps, const size_t sizes[], size_t count, memory_placement_t *out);

/* --- Logs --- */

/**
 * Takes a sample, stores it as a snapshot that survives a reset, and returns. The monitor task, or a
 * short-lived task if monitoring is off, writes the mem.sample record and the box. If more than 8 boxes are
 * queued, the oldest is dropped and counted; records are never dropped.
 */
esp_err_t memory_manager_log_stats(const char *context);

/** Snapshots of this boot, newest first; *count is the number written to out. */
esp_err_t memory_manager_get_history(memory_snapshot_t *out, size_t max, size_t *count);
/** Snapshots of the previous boot, newest first, without damaged ones. If that boot's bank is damaged, those
 * of the boot that preceded it; info identifies the boot. ESP_ERR_NOT_FOUND: none survived (after power-on,
 * or if none was logged). info may be NULL. */
esp_err_t memory_manager_get_last_boot(memory_last_boot_t *info, memory_snapshot_t *out, size_t max,
                                       size_t *count);

/* --- Warnings --- */

esp_err_t memory_manager_get_thresholds(memory_thresholds_t *out);
/** Sets the thresholds (NULL: the defaults), starting with the next check. ESP_ERR_INVALID_ARG: as for
 * memory_manager_init(). */
esp_err_t memory_manager_set_thresholds(const memory_thresholds_t *thresholds);

/** Registers a callback for warnings; called once each time a level is entered. ESP_ERR_INVALID_ARG: callback
 * is NULL; ESP_ERR_NO_MEM: the list is full. */
esp_err_t memory_manager_register_warning_callback(memory_warning_callback_t callback);
/** Registers a callback for recoveries; called once when a level is left after its warning was raised.
 * ESP_ERR_INVALID_ARG: callback is NULL; ESP_ERR_NO_MEM: the list is full. */
esp_err_t memory_manager_register_recovery_callback(memory_warning_callback_t callback);
/** Remove a callback. A check in progress may still call it once. ESP_ERR_INVALID_ARG: callback is NULL;
 * ESP_ERR_NOT_FOUND: not registered. */
esp_err_t memory_manager_unregister_warning_callback(memory_warning_callback_t callback);
esp_err_t memory_manager_unregister_recovery_callback(memory_warning_callback_t callback);

/** Takes a sample and checks it as the monitor does: raises warnings, calls callbacks, sends events. */
esp_err_t memory_manager_check_thresholds(void);

/** Copies the events (warnings, recoveries and failed allocations) with sequence > since, oldest first. Only
 * the last MEMORY_EVENTS_SIZE events are kept. Before that, reports the allocations that have failed since
 * the last report, as each periodic sample does: the first 4 as events, and the number of the others as
 * `lost` in the record of the first. */
esp_err_t memory_manager_get_events(uint32_t since, memory_event_t *out, size_t max, size_t *count);

/** Watches the calling task's allocations until memory_manager_first_failure(). One task at a time. */
void memory_manager_watch_failures(void);
/** Ends the watch. Another call returns the same, until the next watch. @return size of the first allocation
 * that failed during the watch; 0: none
 */
uint32_t memory_manager_first_failure(void);

/** "INTERNAL_LOW" … "FRAGMENTATION_HIGH"; "?" if type is invalid. */
const char *memory_warning_name(memory_warning_type_t type);

/* --- Baselines. State NULL means the baseline set by init, which the box's deltas refer to. --- */

/** ESP_ERR_NOT_FOUND: the state has no baseline. */
esp_err_t memory_manager_get_baseline(const char *state, memory_baseline_t *out);
/** Sets the state's baseline to the current values. ESP_ERR_INVALID_ARG: the name is empty or too long;
 * ESP_ERR_NO_MEM: MEMORY_STATES_MAX other states already have a baseline. */
esp_err_t memory_manager_set_baseline(const char *state);
/** Current values minus the state's baseline. ESP_ERR_NOT_FOUND: the state has no baseline. */
esp_err_t memory_manager_get_delta(const char *state, memory_delta_t *out);

/* --- Observation --- */

/** Sets the application's current state, such as its mode. Observers compare only samples of the same state.
 * NULL: a change is in progress. The string must stay valid. */
esp_err_t memory_manager_set_state(const char *state);
/** Register an observer only once; it must stay valid. ESP_ERR_INVALID_ARG: it has no function. */
esp_err_t memory_manager_register_observer(memory_observer_t *observer);

/* --- Optimisation --- */

/** Logs advice on low and fragmented memory, runs the reclaimers, and logs how much they freed. */
esp_err_t memory_manager_optimize(void);
/** As memory_manager_optimize(); also writes the findings to *report, which may be NULL. */
esp_err_t memory_manager_optimize_report(memory_optimize_report_t *report);
const char *memory_advice_text(memory_advice_t advice);
/** ESP_ERR_NO_MEM: the list is full. */
esp_err_t memory_manager_register_reclaimer(memory_reclaimer_t reclaimer);

/** Memory and CPU time used by the manager itself. */
esp_err_t memory_manager_get_self(memory_self_t *out);

#ifdef __cplusplus
}
#endif
