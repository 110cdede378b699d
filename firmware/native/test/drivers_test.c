/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "drivers_test.h"

#include <stdarg.h>
#include <string.h>
#include "esp_flash.h"
#include "esp_heap_caps.h"
#include "esp_timer.h"

#define NAME_OFFSET 0x3FF000
#define HELD_MAX 64

static const test_case_t *const s_groups[] = {g_audio_cases,  g_camera_cases, g_memory_cases,
                                              g_output_cases, g_task_cases,   g_tts_cases};

static char s_notes[65536];
static size_t s_notes_length;

static uint32_t s_fail_at;
static uint32_t s_seen;
static bool s_failed;

static void *s_held[HELD_MAX];
static size_t s_held_count;

void test_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(s_notes + s_notes_length, sizeof s_notes - s_notes_length, format, args);
    va_end(args);
    s_notes_length += length > 0 ? (size_t)length : 0;
}

/* --- Allocations that fail --- */

void *__real_heap_caps_malloc(size_t size, uint32_t caps);
void *__real_heap_caps_calloc(size_t n, size_t size, uint32_t caps);
void *__real_heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps);
void *__real_heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps);
void *__wrap_heap_caps_malloc(size_t size, uint32_t caps);
void *__wrap_heap_caps_calloc(size_t n, size_t size, uint32_t caps);
void *__wrap_heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps);
void *__wrap_heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps);

static bool must_fail(void)
{
    if (s_fail_at == 0 || ++s_seen != s_fail_at) {
        return false;
    }
    s_failed = true;
    return true;
}

void *__wrap_heap_caps_malloc(size_t size, uint32_t caps)
{
    return must_fail() ? NULL : __real_heap_caps_malloc(size, caps);
}

void *__wrap_heap_caps_calloc(size_t n, size_t size, uint32_t caps)
{
    return must_fail() ? NULL : __real_heap_caps_calloc(n, size, caps);
}

void *__wrap_heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps)
{
    return must_fail() ? NULL : __real_heap_caps_aligned_alloc(alignment, size, caps);
}

void *__wrap_heap_caps_aligned_calloc(size_t alignment, size_t n, size_t size, uint32_t caps)
{
    return must_fail() ? NULL : __real_heap_caps_aligned_calloc(alignment, n, size, caps);
}

void fail_allocation(uint32_t nth)
{
    s_fail_at = nth;
    s_seen = 0;
    s_failed = false;
}

bool allocation_failed(void)
{
    s_fail_at = 0;
    return s_failed;
}

/* --- Heaps --- */

heaps_t heaps_now(void)
{
    multi_heap_info_t info;
    heap_caps_get_info(&info, MALLOC_CAP_8BIT);
    return (heaps_t){
        .internal_free = (uint32_t)heap_caps_get_free_size(MALLOC_CAP_INTERNAL),
        .psram_free = (uint32_t)heap_caps_get_free_size(MALLOC_CAP_SPIRAM),
        .blocks = (uint32_t)info.allocated_blocks,
    };
}

void check_heaps(const char *what, heaps_t before, heaps_t after)
{
    bool same = memcmp(&before, &after, sizeof before) == 0;
    test_note("%s %s: internal %d, PSRAM %d, blocks %d\n", same ? "ok" : "WRONG", what,
              (int)after.internal_free - (int)before.internal_free,
              (int)after.psram_free - (int)before.psram_free, (int)after.blocks - (int)before.blocks);
}

void take_blocks(uint32_t caps, uint32_t limit)
{
    void *block;
    while ((block = heap_caps_malloc(limit, caps)) != NULL) {
        CHECK(s_held_count < HELD_MAX);
        s_held[s_held_count++] = block;
    }
}

void give_blocks(void)
{
    while (s_held_count > 0) {
        heap_caps_free(s_held[--s_held_count]);
    }
}

uint32_t elapsed_ms(int64_t since_us)
{
    return (uint32_t)((esp_timer_get_time() - since_us) / 1000);
}

void app_main(void)
{
    char name[64] = "";
    esp_flash_read(NULL, name, NAME_OFFSET, sizeof name - 1);
    for (size_t i = 0; i < sizeof s_groups / sizeof s_groups[0]; i++) {
        for (const test_case_t *test = s_groups[i]; test->name != NULL; test++) {
            if (strcmp(test->name, name) == 0) {
                test->run();
                printf("%sEND\n", s_notes);
                return;
            }
        }
    }
    printf("no case '%s'\nEND\n", name);
}
