/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory history: rows of statistics in NVS, which survive a loss of power.
 *
 * A row covers the periodic samples since the last row. A task of this component writes a row every
 * CONFIG_HOTPIN_MEM_HISTORY_MINUTES and, at most CONFIG_HOTPIN_MEM_HISTORY_CRITICAL_ROWS times in between, at
 * a critical warning. Rows in flash are always complete: after a loss of power during a write, the history is
 * intact, with or without the new row.
 *
 * Unless stated otherwise, functions may be called from any task, but not from an interrupt.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_HISTORY_ROWS_MIN 145  //!< Minimum number of rows kept, once that number has been written
#define MEMORY_HISTORY_ROWS_MAX 150  //!< Maximum number of rows kept
#define MEMORY_HISTORY_STATE_SIZE 12 //!< Including the terminator

typedef enum {
    MEMORY_HISTORY_REGULAR,   //!< The interval has passed
    MEMORY_HISTORY_CRITICAL,  //!< A critical level was entered
    MEMORY_HISTORY_REQUESTED, //!< memory_history_write()
    MEMORY_HISTORY_REASONS_,
} memory_history_reason_t;

typedef enum {
    MEMORY_HISTORY_INTERNAL,
    MEMORY_HISTORY_DMA,
    MEMORY_HISTORY_PSRAM,
    MEMORY_HISTORY_MEMORIES_,
} memory_history_memory_t;

/** One row. Flash has this struct's layout, so a change needs a new HISTORY_FORMAT. */
typedef struct {
    uint32_t sequence;                             //!< Counts from 1 in each history
    uint32_t boot_count;                           //!< As in the boot record; 0: unknown
    uint32_t uptime_s;                             //!< Since boot
    uint32_t least_free[MEMORY_HISTORY_MEMORIES_]; //!< Bytes; the low-water mark
    uint32_t least_largest[MEMORY_HISTORY_MEMORIES_];
    uint8_t worst_fragmentation[MEMORY_HISTORY_MEMORIES_]; //!< Percent
    uint8_t reason;                                        //!< memory_history_reason_t
    uint16_t warnings;                     //!< Levels entered since the last row, at most 65,535
    uint16_t failed_allocations;           //!< Since the last row, at most 65,535
    char state[MEMORY_HISTORY_STATE_SIZE]; //!< Set by memory_manager_set_state(); "": none
} memory_history_row_t;

typedef struct {
    uint32_t newest;  //!< Sequence of the newest row; 0: none
    uint32_t written; //!< Rows written since boot
    uint32_t damaged; //!< Groups ignored at boot: damaged, or written by other firmware
    uint32_t interval_s;
    bool paused;
    esp_err_t error;         //!< Result of the last write or erasure; ESP_OK before the first
    uint32_t bytes_internal; //!< Static memory, and the task with its headers
    uint32_t stack_size;
    uint32_t observe_us; //!< Longest time that a sample took in the monitor task, microseconds
} memory_history_info_t;

/**
 * Reads the history and starts its task. Call it after memory_manager_init() and nvs_flash_init().
 *
 * If there is no history, starts a new one. If the history cannot be read, also logs a warning.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: already started, or the memory manager is not initialised
 *      - ESP_ERR_NO_MEM: no memory for the task
 */
esp_err_t memory_history_start(void);

/**
 * Reads rows with a sequence below `before` (0: all), newest first. One call may return only some of
 * them: call it again with the last row's sequence as `before` until *count is 0. Uses about 400 bytes of
 * stack.
 *
 * @return ESP_OK; ESP_ERR_INVALID_STATE: not started; ESP_ERR_INVALID_ARG: a NULL pointer or max is 0
 */
esp_err_t memory_history_get(uint32_t before, memory_history_row_t *out, size_t max, size_t *count);

/** Pauses the history: samples are ignored and no rows are written, except a row in progress. */
void memory_history_pause(bool pause);
/** Sets the time between rows, in seconds. ESP_ERR_INVALID_ARG: 0, or above 4,294,967. */
esp_err_t memory_history_set_interval(uint32_t seconds);
/**
 * Writes a row of the current memory, for example before a planned restart, and returns when it is in flash.
 * The next regular row is not affected. Also works while the history is paused. Not for callbacks of the
 * memory manager, which must not block.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_STATE: not started
 *      - ESP_ERR_TIMEOUT: an earlier row, or this row after it, was not written within 2 s
 *      - other errors from NVS
 */
esp_err_t memory_history_write(void);
/** Removes all rows. ESP_ERR_INVALID_STATE: not started; ESP_ERR_TIMEOUT: not done within 2 s; other errors
 * from NVS. */
esp_err_t memory_history_erase(void);
/** ESP_ERR_INVALID_STATE: not started; ESP_ERR_INVALID_ARG: out is NULL. */
esp_err_t memory_history_get_info(memory_history_info_t *out);

#ifdef __cplusplus
}
#endif
