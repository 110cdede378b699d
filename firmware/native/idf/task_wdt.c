/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The task watchdog, in virtual time: subscribed tasks and core 0's idle task must reset it within the
 * timeout.
 */
#include "idf/task_wdt.h"

#include <stdio.h>
#include <string.h>
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "heap/heap_caps_native.h"
#include "idf/panic.h"
#include "kernel/clock.h"
#include "kernel/hooks.h"
#include "kernel/object.h"
#include "kernel/task.h"
#include "sdkconfig.h"

#define SIZE_ENTRY 16 /* bytes of an entry on the chip: task, name, list link, flag */

typedef struct entry entry_t;
struct entry {
    entry_t *next;
    native_task_t *task; // NULL: a user
    const char *name;
    void *block; // the entry's memory on the chip, which is also the handle of a user
    bool reset;
};

static const char *TAG = "task_wdt";

static bool s_initialized;
static uint32_t s_timeout_ms;
static bool s_panic;
static entry_t *s_entries;
static native_event_t s_event;
static bool s_watch_idle;
static bool s_idle_reset;

static void feed(void)
{
    native_event_arm(&s_event, native_now_us() + s_timeout_ms * 1000ull);
    for (entry_t *entry = s_entries; entry != NULL; entry = entry->next) {
        entry->reset = false;
    }
    s_idle_reset = false;
}

static void feed_if_all_reset(void)
{
    if (!s_initialized || (s_watch_idle && !s_idle_reset)) {
        return;
    }
    for (entry_t *entry = s_entries; entry != NULL; entry = entry->next) {
        if (!entry->reset) {
            return;
        }
    }
    feed();
}

static void on_timeout(native_event_t *event)
{
    (void)event;
    if (native_current_is_idle()) {
        s_idle_reset = true; // the idle task is running, even if the clock makes one long step
        feed_if_all_reset();
        if (s_event.armed) {
            return;
        }
    }
    // Directly to the UART, as in ESP-IDF, because a hanging task may hold the console's lock.
    ESP_EARLY_LOGE(
        TAG, "Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:");
    if (s_watch_idle && !s_idle_reset) {
        ESP_EARLY_LOGE(TAG, " - IDLE0 (CPU 0)");
    }
    for (entry_t *entry = s_entries; entry != NULL; entry = entry->next) {
        if (!entry->reset) {
            ESP_EARLY_LOGE(TAG, " - %s%s", entry->name, entry->task != NULL ? " (CPU 0)" : "");
        }
    }
    ESP_EARLY_LOGE(TAG, "Tasks currently running:");
    ESP_EARLY_LOGE(TAG, "CPU 0: %s", native_current_name());
    ESP_EARLY_LOGE(TAG, "CPU 1: IDLE1");
    if (s_panic) {
        ESP_EARLY_LOGE(TAG, "Aborting.");
        ESP_EARLY_LOGE(TAG, "Print CPU 0 (current core) backtrace");
        native_panic_task_wdt();
    }
    feed();
}

esp_err_t esp_task_wdt_init(const esp_task_wdt_config_t *config)
{
    if (config == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (s_initialized) {
        return ESP_ERR_INVALID_STATE;
    }
    s_initialized = true;
    return esp_task_wdt_reconfigure(config);
}

esp_err_t esp_task_wdt_reconfigure(const esp_task_wdt_config_t *config)
{
    if (config == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!s_initialized) {
        return ESP_ERR_INVALID_STATE;
    }
    s_event.fire = on_timeout;
    s_timeout_ms = config->timeout_ms;
    s_panic = config->trigger_panic;
    s_watch_idle = (config->idle_core_mask & 1) != 0;
    feed();
    return ESP_OK;
}

void native_task_wdt_idle_ran(void)
{
    if (s_initialized && s_watch_idle && !s_idle_reset) {
        s_idle_reset = true;
        feed_if_all_reset();
    }
}

static entry_t **find_task(const native_task_t *task)
{
    entry_t **link = &s_entries;
    while (*link != NULL && (*link)->task != task) {
        link = &(*link)->next;
    }
    return link;
}

static esp_err_t add(native_task_t *task, const char *name, void **block)
{
    void *memory = heap_caps_calloc_default(1, SIZE_ENTRY);
    if (memory == NULL) {
        return ESP_ERR_NO_MEM;
    }
    entry_t *entry = native_host_alloc(sizeof *entry);
    *entry = (entry_t){.next = s_entries, .task = task, .name = name, .block = memory};
    s_entries = entry;
    if (block != NULL) {
        *block = memory;
    }
    return ESP_OK;
}

static void drop(entry_t **link)
{
    entry_t *entry = *link;
    *link = entry->next;
    heap_caps_free(entry->block);
    native_host_free(entry);
    feed_if_all_reset();
}

esp_err_t esp_task_wdt_add(TaskHandle_t task_handle)
{
    native_task_t *task = native_task_from_handle(task_handle);
    if (!s_initialized) {
        return ESP_ERR_INVALID_STATE;
    }
    return *find_task(task) != NULL ? ESP_ERR_INVALID_ARG : add(task, native_task_name(task), NULL);
}

esp_err_t esp_task_wdt_reset(void)
{
    if (!s_initialized) {
        return ESP_ERR_INVALID_STATE;
    }
    entry_t *entry = *find_task(native_current());
    if (entry == NULL) {
        ESP_LOGE(TAG, "%s(%d): task not found", __func__, __LINE__);
        return ESP_ERR_NOT_FOUND;
    }
    entry->reset = true;
    feed_if_all_reset();
    return ESP_OK;
}

esp_err_t esp_task_wdt_delete(TaskHandle_t task_handle)
{
    if (!s_initialized) {
        return ESP_ERR_INVALID_STATE;
    }
    entry_t **link = find_task(native_task_from_handle(task_handle));
    if (*link == NULL) {
        return ESP_ERR_NOT_FOUND;
    }
    drop(link);
    return ESP_OK;
}

/* Removes the entry of a deleted task. In ESP-IDF the entry stays, and the watchdog later triggers with a
 * stale name. */
static void forget(native_task_t *task)
{
    entry_t **link = find_task(task);
    if (task != NULL && *link != NULL) {
        drop(link);
    }
}

/* ESP-IDF's initialisation at startup. Its memory is part of the board profile's startup blocks. */
void native_task_wdt_start(void)
{
    g_native_hooks.task_deleted = forget;
#if CONFIG_ESP_TASK_WDT_INIT
    esp_task_wdt_config_t config = {
        .timeout_ms = CONFIG_ESP_TASK_WDT_TIMEOUT_S * 1000,
#if CONFIG_ESP_TASK_WDT_CHECK_IDLE_TASK_CPU0
        .idle_core_mask = 1,
#endif
#if CONFIG_ESP_TASK_WDT_PANIC
        .trigger_panic = true,
#endif
    };
    esp_task_wdt_init(&config);
#endif
}
