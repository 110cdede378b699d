/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory manager: statistics, threshold warnings and memory logs.
 *
 * Unless stated otherwise, functions may be called from any task, but not from an interrupt; before
 * memory_manager_init() they return ESP_ERR_INVALID_STATE; an invalid argument (ESP_ERR_INVALID_ARG) changes
 * nothing. Sizes are bytes, times ms since boot, KB is 1,024 bytes.
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

#define MEMORY_CALLBACKS_MAX 8 //!< Warning callbacks, and as many recovery callbacks
#define MEMORY_RECLAIMERS_MAX 4
#define MEMORY_STATES_MAX 4       //!< Baselines in addition to the one of init
#define MEMORY_STATE_NAME_SIZE 12 //!< With the terminator
#define MEMORY_CONTEXT_SIZE 32    //!< With the terminator; a longer context is truncated
#define MEMORY_PLACE_MAX 16       //!< Most blocks in one call of memory_manager_place()
#define MEMORY_HISTORY_SIZE 16    //!< Snapshots kept for the running boot, and for the one before
#define MEMORY_EVENTS_SIZE 8      //!< Events kept

/** One sample. All fields are uint32_t; memory_fields.h lists them with their units. */
typedef struct {
#define MEMORY_STATS_MEMBER_(field, section, row) uint32_t field;
    MEMORY_STATS_FIELDS(MEMORY_STATS_MEMBER_)
#undef MEMORY_STATS_MEMBER_
} memory_stats_t;

/** Warning thresholds. Memory: bytes, a warning is raised below them. Fragmentation: percent, at or above
 * them. */
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

/* clang-format off: one memory a line */
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
    MEMORY_WARNING_FRAGMENTATION_HIGH, //!< Of the worst memory; threshold_value distinguishes the two levels
    MEMORY_WARNING_TYPES_,
} memory_warning_type_t;

typedef struct {
    memory_warning_type_t type;
    uint32_t timestamp_ms;
    uint32_t current_value; //!< Bytes free, or percent
    uint32_t threshold_value;
} memory_warning_t;

/**
 * Called by the task that detects the change (usually the monitor task), outside all locks: it may use this
 * API. The monitor's stack is 2 KB: printf and ESP_LOGx do not fit, memory_manager_log_stats() does.
 */
typedef void (*memory_warning_callback_t)(const memory_warning_t *warning);

/** Frees memory that its component can do without. The gain is measured around the call. */
typedef void (*memory_reclaimer_t)(void);

/** Free bytes at one moment: internal, dma, psram, total. */
typedef struct {
    uint32_t timestamp_ms;
#define MEMORY_BASELINE_MEMBER_(field, label, stats_field) uint32_t field;
    MEMORY_BASELINE_FIELDS(MEMORY_BASELINE_MEMBER_)
#undef MEMORY_BASELINE_MEMBER_
} memory_baseline_t;

/** Present minus baseline, in bytes: negative if there is less free memory. */
typedef struct {
#define MEMORY_DELTA_MEMBER_(field, label, stats_field) int32_t field;
    MEMORY_BASELINE_FIELDS(MEMORY_DELTA_MEMBER_)
#undef MEMORY_DELTA_MEMBER_
} memory_delta_t;

/** One logged sample. */
typedef struct {
    uint32_t sequence; //!< Counts from 1 at each boot
    memory_stats_t stats;
    memory_delta_t delta; //!< From the baseline at that time
    char context[MEMORY_CONTEXT_SIZE];
} memory_snapshot_t;

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
    uint32_t missing; //!< Size of the first block that does not fit, 0 if all do
    uint32_t largest; //!< The largest block left for it
} memory_placement_t;

/** Findings of memory_manager_optimize(). Bits of `advice`. */
typedef enum {
    MEMORY_ADVICE_INTERNAL_PRESSURE,
    MEMORY_ADVICE_DMA_PRESSURE,
    MEMORY_ADVICE_PSRAM_PRESSURE,
    MEMORY_ADVICE_INTERNAL_FRAGMENTED,
    MEMORY_ADVICE_RESTART_AUDIO, //!< DMA memory is split by 40 % or more
    MEMORY_ADVICE_PSRAM_FRAGMENTED,
    MEMORY_ADVICE_KINDS_,
} memory_advice_t;

typedef struct {
    uint32_t advice;   //!< Bit n: memory_advice_t n applies
    int32_t reclaimed; //!< Bytes of total_free gained by the reclaimers (changes by other tasks included)
} memory_optimize_report_t;

typedef struct {
    uint32_t bytes_internal; //!< Sum of the following, except bytes_rtc
    uint32_t bytes_static;
    uint32_t bytes_task; //!< Stack, control block and their headers; only while the monitor task runs
    uint32_t bytes_rtc;  //!< Snapshots and events, in RTC memory, which is not heap
    uint32_t stack_size;
    uint32_t stack_unused;      //!< Never used since the task started; 0 when it does not run
    uint32_t cpu_us_per_sample; //!< Mean time of a periodic sample with its threshold check
    uint32_t samples;
} memory_self_t;

/** The boot whose snapshots survived the last reset. */
typedef struct {
    uint32_t boot_count;
    uint32_t boot_id;
} memory_last_boot_t;

/* --- Starting --- */

/**
 * Sets the thresholds (NULL: MEMORY_THRESHOLDS_DEFAULT), starts the low-water marks, hooks failed allocations
 * and takes the baseline.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: a critical level above its warning level (fragmentation: below it), or a
 *        percentage over 100
 *      - ESP_ERR_INVALID_STATE: already initialised
 */
esp_err_t memory_manager_init(const memory_thresholds_t *thresholds);

/**
 * Samples every interval_ms, first one interval from now. While monitoring runs, changes the interval.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: not initialised
 *      - ESP_ERR_INVALID_ARG: below CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS
 *      - ESP_ERR_NO_MEM: no memory for the task
 */
esp_err_t memory_manager_start_monitoring(uint32_t interval_ms);

/**
 * Returns when the monitor task has written all queued output and has ended; ESP_OK also when none runs.
 * From a callback it only requests the end: the task ends after the callback.
 */
esp_err_t memory_manager_stop_monitoring(void);
esp_err_t memory_manager_get_monitoring(memory_monitoring_t *out);

/* --- Queries: each reads the heap; the three numbers and two checks also work before init --- */

esp_err_t memory_manager_get_stats(memory_stats_t *out);
uint32_t memory_manager_get_free_internal(void);
uint32_t memory_manager_get_free_dma(void);
uint32_t memory_manager_get_free_psram(void);

/**
 * True exactly when heap_caps_malloc(size, MALLOC_CAP_DMA) or (…SPIRAM) would succeed now: one block, not
 * the total.
 */
bool memory_manager_check_dma_available(size_t size);
bool memory_manager_check_psram_available(size_t size);

/**
 * True if these blocks can be allocated together. memory_manager_place() also returns the one that cannot.
 * At most MEMORY_PLACE_MAX.
 */
bool memory_manager_can_place(uint32_t caps, const size_t sizes[], size_t count);
esp_err_t memory_manager_place(uint32_t caps, const size_t sizes[], size_t count, memory_placement_t *out);

/* --- Logs --- */

/**
 * Samples, keeps the snapshot (it survives a reset) and returns; the monitor task, or a short-lived one when
 * monitoring is off, writes the mem.sample record and the box. Of more than 8 queued boxes the oldest is
 * dropped and counted; records are never dropped.
 */
esp_err_t memory_manager_log_stats(const char *context);

/** Newest first; *count is the number written to out. */
esp_err_t memory_manager_get_history(memory_snapshot_t *out, size_t max, size_t *count);
/** ESP_ERR_NOT_FOUND: none survived (power-on, or nothing was logged). info may be NULL. */
esp_err_t memory_manager_get_last_boot(memory_last_boot_t *info, memory_snapshot_t *out, size_t max,
                                       size_t *count);

/* --- Warnings --- */

esp_err_t memory_manager_get_thresholds(memory_thresholds_t *out);
/** NULL: the defaults. Takes effect at the next check. Errors as memory_manager_init(). */
esp_err_t memory_manager_set_thresholds(const memory_thresholds_t *thresholds);

/** Called once on entering a level. ESP_ERR_NO_MEM: the list is full. */
esp_err_t memory_manager_register_warning_callback(memory_warning_callback_t callback);
/** Called once on leaving a level whose warning was raised. ESP_ERR_NO_MEM: the list is full. */
esp_err_t memory_manager_register_recovery_callback(memory_warning_callback_t callback);
/** ESP_ERR_NOT_FOUND: not registered. A check that is running may still call it once. */
esp_err_t memory_manager_unregister_warning_callback(memory_warning_callback_t callback);
esp_err_t memory_manager_unregister_recovery_callback(memory_warning_callback_t callback);

/** Runs one check now, as the monitor does after each sample: warnings, callbacks, events. */
esp_err_t memory_manager_check_thresholds(void);

/** Warnings, recoveries and failed allocations with sequence > since, oldest first. */
esp_err_t memory_manager_get_events(uint32_t since, memory_event_t *out, size_t max, size_t *count);

/** "INTERNAL_LOW" … "FRAGMENTATION_HIGH"; "?" for no type. */
const char *memory_warning_name(memory_warning_type_t type);

/* --- Baselines: state NULL is the one of init, the reference of the box's deltas --- */

esp_err_t memory_manager_get_baseline(const char *state, memory_baseline_t *out);
/** Sets the baseline to the present values. ESP_ERR_NO_MEM: MEMORY_STATES_MAX states have one already. */
esp_err_t memory_manager_set_baseline(const char *state);
/** Present minus that baseline. ESP_ERR_NOT_FOUND: the state has none. */
esp_err_t memory_manager_get_delta(const char *state, memory_delta_t *out);

/* --- Optimisation --- */

/** Logs advice on pressure and fragmentation, runs the reclaimers, logs their gain. */
esp_err_t memory_manager_optimize(void);
/** The same, with the findings in *report, which may be NULL. */
esp_err_t memory_manager_optimize_report(memory_optimize_report_t *report);
const char *memory_advice_text(memory_advice_t advice);
/** ESP_ERR_NO_MEM: the list is full. */
esp_err_t memory_manager_register_reclaimer(memory_reclaimer_t reclaimer);

/** Memory that the manager itself takes. */
esp_err_t memory_manager_get_self(memory_self_t *out);

#ifdef __cplusplus
}
#endif
