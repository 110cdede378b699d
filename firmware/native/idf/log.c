/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * esp_log: levels by tag, time stamps, and one vprintf per line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "esp_cpu.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "heap/heap_caps_native.h"
#include "kernel/clock.h"
#include "kernel/object.h"
#include "kernel/task.h"
#include "native_console.h"
#include "sdkconfig.h"

#define TAG_HEADER 5 /* bytes of a level entry on the chip before the tag: a pointer and the level */

typedef struct entry entry_t;
struct entry {
    entry_t *next;
    void *charged;
    esp_log_level_t level;
    char tag[];
};

esp_log_level_t esp_log_default_level = CONFIG_LOG_DEFAULT_LEVEL;

static entry_t *s_levels;
static vprintf_like_t s_vprintf = native_vprintf;

static entry_t *find(const char *tag)
{
    for (entry_t *entry = s_levels; entry != NULL; entry = entry->next) {
        if (strcmp(entry->tag, tag) == 0) {
            return entry;
        }
    }
    return NULL;
}

esp_log_level_t esp_log_level_get(const char *tag)
{
    entry_t *entry = find(tag);
    return entry == NULL ? esp_log_default_level : entry->level;
}

void esp_log_level_set(const char *tag, esp_log_level_t level)
{
    if (strcmp(tag, "*") == 0) {
        esp_log_default_level = level;
        while (s_levels != NULL) {
            entry_t *entry = s_levels;
            s_levels = entry->next;
            heap_caps_free(entry->charged);
            native_host_free(entry);
        }
        return;
    }
    entry_t *entry = find(tag);
    if (entry == NULL) {
        size_t length = strlen(tag);
        void *charged = heap_caps_malloc_default(TAG_HEADER + length + 1);
        if (charged == NULL) {
            return;
        }
        entry = native_host_alloc(sizeof *entry + length + 1);
        memcpy(entry->tag, tag, length + 1);
        entry->charged = charged;
        entry->next = s_levels;
        s_levels = entry;
    }
    entry->level = level;
}

vprintf_like_t esp_log_set_vprintf(vprintf_like_t func)
{
    vprintf_like_t before = s_vprintf;
    s_vprintf = func;
    return before;
}

void esp_log_writev(esp_log_level_t level, const char *tag, const char *format, va_list args)
{
    if (level <= esp_log_level_get(tag)) {
        s_vprintf(format, args);
    }
}

void esp_log_write(esp_log_level_t level, const char *tag, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    esp_log_writev(level, tag, format, args);
    va_end(args);
}

uint32_t esp_log_early_timestamp(void)
{
    return (uint32_t)(native_now_us() / 1000);
}

uint32_t esp_log_timestamp(void)
{
    if (!native_scheduler_running()) {
        return esp_log_early_timestamp();
    }
    static uint32_t s_base;
    if (s_base == 0) {
        s_base = esp_log_early_timestamp() - (uint32_t)(native_clock_uptime_us() / 1000);
    }
    return s_base + xTaskGetTickCount() * (1000 / configTICK_RATE_HZ);
}

/* --- Buffers, 16 bytes per line --- */

#define LINE 16
