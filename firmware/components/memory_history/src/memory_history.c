/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The monitor task adds samples to the window. When a row is due and none is pending, it moves the row into
 * `pending`. This component's own task writes the pending row, because a flash write blocks for tens of ms
 * and needs more stack than the monitor task has.
 */
#include "memory_history.h"

#include <stdatomic.h>
#include <string.h>
#include "esp_attr.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "history_group.h"
#include "history_window.h"
#include "memory_manager.h"
#include "nvs.h"
#include "sdkconfig.h"
#include "telemetry.h"

#define NAMESPACE "mem_history"
#define TASK_NAME "mem_history"
#define STACK_SIZE 3072
#define PRIORITY (tskIDLE_PRIORITY + 1)
/* Control block (ESP-IDF v5.4), and the block headers of control block and stack. */
#define TASK_OVERHEAD (352 + 2 * 4)
#define TRIES_MAX 3  /* attempts to write a row; a retry waits for the next sample, or for a request */
#define WAIT_MS 2000 /* longest wait for this component's task */

#if CONFIG_HOTPIN_MEM_HISTORY_PAUSED
#define PAUSED_AT_START true
#else
#define PAUSED_AT_START false
#endif

static const char *TAG = "MEM_HIST";

enum { NONE, MAKING, READY };

static struct {
    TaskHandle_t task;
    history_window_t window;      /* monitor task only */
    memory_history_row_t pending; /* owner: MAKING: the task that set MAKING; READY: history_task */
    history_group_t group;        /* group of the newest row; history_task only */
    nvs_handle_t nvs;             /* open while nvs_is_open; history_task only */
    bool nvs_is_open;
    uint32_t tries;
    uint32_t damaged;
    atomic_int row;
    atomic_int erase; /* true: requested */
    atomic_bool paused;
    atomic_bool critical; /* a critical level has been entered since the last row */
    atomic_uint warnings, failed_allocations;
    atomic_uint newest, written, interval_s, observe_us;
    atomic_int error;
    const char *_Atomic state; /* of the application; a static string */
} s_history = {.state = ""};

static atomic_flag s_started = ATOMIC_FLAG_INIT;

/* --- Reading --- */

/* ESP_ERR_NVS_NOT_FOUND: there is no such group; ESP_ERR_INVALID_SIZE: it is damaged, or other firmware wrote
 * it. */
static esp_err_t read_group(nvs_handle_t nvs, uint32_t number, history_group_t *group)
{
    char key[HISTORY_KEY_SIZE];
    size_t size = sizeof(*group);
    history_group_key(number, key);
    esp_err_t err = nvs_get_blob(nvs, key, group, &size);
    if (err == ESP_ERR_NVS_NOT_FOUND) {
        return err;
    }
    return err == ESP_OK && history_group_valid(group, size, number) ? ESP_OK : ESP_ERR_INVALID_SIZE;
}

/* Finds the newest row. If there is none, the next row is number 1. */
static void find_newest(void)
{
    nvs_handle_t nvs;
    uint32_t newest = 0;
    esp_err_t err = nvs_open(NAMESPACE, NVS_READONLY, &nvs);
    if (err == ESP_ERR_NVS_NOT_FOUND) {
        return; /* no row has ever been written */
    }
    if (err != ESP_OK) {
        ESP_LOGW(TAG, "cannot read the history (%s): starting a new one", esp_err_to_name(err));
        return;
    }
    for (uint32_t number = 0; number < HISTORY_GROUPS; number++) {
        err = read_group(nvs, number, &s_history.group);
        if (err == ESP_OK) {
            uint32_t last = s_history.group.rows[s_history.group.count - 1].sequence;
            newest = last > newest ? last : newest;
        }
        s_history.damaged += err == ESP_ERR_INVALID_SIZE;
    }
    if (newest != 0) {
        read_group(nvs, history_group_of(newest), &s_history.group);
    }
    nvs_close(nvs);
    atomic_store(&s_history.newest, newest);
    if (s_history.damaged > 0) {
        ESP_LOGW(TAG, "ignored %u groups of rows, damaged or written by other firmware%s",
                 (unsigned)s_history.damaged, newest == 0 ? "; starting a new history" : "");
    }
}

esp_err_t memory_history_get(uint32_t before, memory_history_row_t *out, size_t max, size_t *count)
{
    history_group_t group;
    nvs_handle_t nvs;
    if (out == NULL || max == 0 || count == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (s_history.task == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    *count = 0;
    uint32_t newest = atomic_load(&s_history.newest);
    uint32_t sequence = before == 0 || before > newest ? newest : before - 1;
    if (sequence == 0 || nvs_open(NAMESPACE, NVS_READONLY, &nvs) != ESP_OK) {
        return ESP_OK;
    }
    uint32_t oldest = newest > MEMORY_HISTORY_ROWS_MAX ? newest - MEMORY_HISTORY_ROWS_MAX + 1 : 1;
    while (sequence >= oldest && *count == 0) { /* skips groups that are missing */
        uint32_t place = history_place_of(sequence);
        uint32_t first = sequence - place;
        if (read_group(nvs, history_group_of(sequence), &group) == ESP_OK &&
            group.rows[0].sequence == first) {
            for (; place < group.count && *count < max; place--) { /* wraps below 0 */
                out[(*count)++] = group.rows[place];
            }
        }
        sequence = first - 1;
    }
    nvs_close(nvs);
    return ESP_OK;
}

/* --- Writing --- */

static esp_err_t open_nvs(void)
{
    if (s_history.nvs_is_open) {
        return ESP_OK;
    }
    esp_err_t err = nvs_open(NAMESPACE, NVS_READWRITE, &s_history.nvs);
    s_history.nvs_is_open = err == ESP_OK;
    return err;
}

static esp_err_t erase_rows(void)
{
    esp_err_t err = open_nvs();
    if (err == ESP_OK) {
        err = nvs_erase_all(s_history.nvs);
    }
    atomic_store(&s_history.newest, 0);
    return err;
}

/* Adds the pending row to its group and writes the group. */
static esp_err_t write_group(void)
{
    char key[HISTORY_KEY_SIZE];
    uint32_t sequence = atomic_load(&s_history.newest) + 1;
    esp_err_t err = open_nvs();
    if (err != ESP_OK) {
        return err;
    }
    s_history.pending.sequence = sequence;
    size_t size = history_group_add(&s_history.group, &s_history.pending);
    history_group_key(history_group_of(sequence), key);
    err = nvs_set_blob(s_history.nvs, key, &s_history.group, size);
    if (err == ESP_OK) {
        err = nvs_commit(s_history.nvs);
    }
    if (err == ESP_OK) {
        atomic_store(&s_history.newest, sequence);
        atomic_fetch_add(&s_history.written, 1);
    }
    return err;
}

static void drop_pending(void)
{
    s_history.tries = 0;
    atomic_store(&s_history.row, NONE);
}

static void write_pending(void)
{
    esp_err_t err = write_group();
    if (err == ESP_ERR_NVS_NOT_ENOUGH_SPACE && atomic_load(&s_history.newest) != 0) {
        ESP_LOGW(TAG, "NVS is full: starting a new history");
        erase_rows();
        err = write_group();
    }
    atomic_store(&s_history.error, err);
    bool waits = s_history.pending.reason == MEMORY_HISTORY_REQUESTED; /* the caller gets the error */
    if (err != ESP_OK && !waits && ++s_history.tries < TRIES_MAX) {
        return; /* the next sample tries again */
    }
    if (err != ESP_OK) {
        ESP_LOGW(TAG, "cannot write a row: %s", esp_err_to_name(err));
    }
    drop_pending();
}

static void history_task(void *arg)
{
    (void)arg;
    for (;;) {
        ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
        if (atomic_load(&s_history.erase)) {
            esp_err_t err = erase_rows();
            atomic_store(&s_history.error, err);
            if (err == ESP_OK && atomic_load(&s_history.row) == READY) {
                drop_pending(); /* a row that could not be written yet is erased too */
            }
            atomic_store(&s_history.erase, false);
        }
        if (atomic_load(&s_history.row) == READY) {
            write_pending();
        }
    }
}

/* --- Observing --- */

static bool begin_row(void)
{
    int row = NONE;
    return atomic_compare_exchange_strong(&s_history.row, &row, MAKING);
}

static void end_row(void)
{
    s_history.pending.boot_count = telemetry_boot_count();
    atomic_store(&s_history.row, READY);
}

static void move_row(uint32_t now_ms)
{
    memory_history_reason_t reason;
    uint32_t interval_ms = atomic_load(&s_history.interval_s) * 1000;
    if (!history_window_due(&s_history.window, now_ms, interval_ms, atomic_load(&s_history.critical),
                            CONFIG_HOTPIN_MEM_HISTORY_CRITICAL_ROWS, &reason) ||
        !begin_row()) {
        return;
    }
    atomic_store(&s_history.critical, false);
    const history_counts_t counts = {
        .warnings = atomic_exchange(&s_history.warnings, 0),
        .failed_allocations = atomic_exchange(&s_history.failed_allocations, 0),
    };
    history_window_take(&s_history.window, now_ms, interval_ms, reason, &counts, &s_history.pending);
    end_row();
}

static void observe(const memory_observation_t *observation)
{
    if (atomic_load(&s_history.paused)) {
        memset(&s_history.window, 0, sizeof(s_history.window));
        atomic_store(&s_history.critical, false);
        atomic_store(&s_history.warnings, 0);
        atomic_store(&s_history.failed_allocations, 0);
        return;
    }
    int64_t start_us = esp_timer_get_time();
    history_window_add(&s_history.window, observation);
    move_row(observation->stats->timestamp_ms);
    if (atomic_load(&s_history.row) == READY) { /* this row, or an earlier row that is still to be retried */
        xTaskNotifyGive(s_history.task);
    }
    uint32_t took_us = (uint32_t)(esp_timer_get_time() - start_us);
    if (took_us > atomic_load(&s_history.observe_us)) {
        atomic_store(&s_history.observe_us, took_us);
    }
}

static void entered(const char *state)
{
    atomic_store(&s_history.state, state);
}

static void warned(const memory_warning_t *warning)
{
    memory_thresholds_t thresholds;
    atomic_fetch_add(&s_history.warnings, 1);
    if (memory_manager_get_thresholds(&thresholds) == ESP_OK &&
        history_is_critical(warning, thresholds.fragmentation_critical)) {
        atomic_store(&s_history.critical, true);
    }
}

static IRAM_ATTR void failed(uint32_t size, uint32_t caps, const char *function)
{
    (void)size;
    (void)caps;
    (void)function;
    atomic_fetch_add(&s_history.failed_allocations, 1);
}

/* --- API --- */

esp_err_t memory_history_start(void)
{
    static memory_observer_t s_observer = {
        .observe = observe, .entered = entered, .warned = warned, .failed = failed};
    memory_thresholds_t thresholds;
    if (memory_manager_get_thresholds(&thresholds) != ESP_OK || atomic_flag_test_and_set(&s_started)) {
        return ESP_ERR_INVALID_STATE;
    }
    find_newest();
    atomic_store(&s_history.interval_s, CONFIG_HOTPIN_MEM_HISTORY_MINUTES * 60);
    atomic_store(&s_history.paused, PAUSED_AT_START);
    if (xTaskCreate(history_task, TASK_NAME, STACK_SIZE, NULL, PRIORITY, &s_history.task) != pdPASS) {
        atomic_flag_clear(&s_started);
        return ESP_ERR_NO_MEM;
    }
    return memory_manager_register_observer(&s_observer);
}

void memory_history_pause(bool pause)
{
    atomic_store(&s_history.paused, pause);
}

esp_err_t memory_history_set_interval(uint32_t seconds)
{
    if (seconds == 0 || seconds > UINT32_MAX / 1000) {
        return ESP_ERR_INVALID_ARG;
    }
    atomic_store(&s_history.interval_s, seconds);
    return ESP_OK;
}

/* Waits until *value is `wanted`. */
static esp_err_t wait_for(atomic_int *value, int wanted)
{
    for (TickType_t ticks = 0; atomic_load(value) != wanted; ticks++) {
        if (ticks >= pdMS_TO_TICKS(WAIT_MS)) {
            return ESP_ERR_TIMEOUT;
        }
        vTaskDelay(1);
    }
    return ESP_OK;
}

esp_err_t memory_history_write(void)
{
    memory_stats_t stats;
    const memory_observation_t now = {.stats = &stats, .state = atomic_load(&s_history.state)};
    const history_counts_t counts = {0};
    history_window_t window = {0};
    if (s_history.task == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    memory_manager_get_stats(&stats);
    history_window_add(&window, &now);
    for (TickType_t ticks = 0; !begin_row(); ticks++) {
        if (ticks >= pdMS_TO_TICKS(WAIT_MS)) {
            return ESP_ERR_TIMEOUT;
        }
        if (ticks % pdMS_TO_TICKS(WAIT_MS / TRIES_MAX / 2) == 0) {
            xTaskNotifyGive(s_history.task); /* without samples, nothing else makes it retry an earlier row */
        }
        vTaskDelay(1);
    }
    history_window_take(&window, stats.timestamp_ms, 0, MEMORY_HISTORY_REQUESTED, &counts,
                        &s_history.pending);
    end_row();
    xTaskNotifyGive(s_history.task);
    esp_err_t err = wait_for(&s_history.row, NONE);
    return err == ESP_OK ? atomic_load(&s_history.error) : err;
}

esp_err_t memory_history_erase(void)
{
    if (s_history.task == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    atomic_store(&s_history.erase, true);
    xTaskNotifyGive(s_history.task);
    esp_err_t err = wait_for(&s_history.erase, false);
    return err == ESP_OK ? atomic_load(&s_history.error) : err;
}

esp_err_t memory_history_get_info(memory_history_info_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (s_history.task == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    *out = (memory_history_info_t){
        .newest = atomic_load(&s_history.newest),
        .written = atomic_load(&s_history.written),
        .damaged = s_history.damaged,
        .interval_s = atomic_load(&s_history.interval_s),
        .paused = atomic_load(&s_history.paused),
        .error = atomic_load(&s_history.error),
        .bytes_internal =
            sizeof(s_history) + sizeof(s_started) + sizeof(memory_observer_t) + STACK_SIZE + TASK_OVERHEAD,
        .stack_size = STACK_SIZE,
        .observe_us = atomic_load(&s_history.observe_us),
    };
    return ESP_OK;
}
