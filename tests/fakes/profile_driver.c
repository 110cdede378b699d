/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * memory_profile.c on the heap model: `driver SEED STEPS`, the lines of the chip's boot on stdin. Allocates,
 * resizes and frees at random, as several tasks at several sites, and compares the profile with the
 * allocator's own walk after each step. Its clock counts critical sections, so that times are the same on
 * every machine. Prints counts and the time per pair, or the first difference.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_memory.h"
#include "esp_debug_helpers.h"
#include "esp_heap_caps.h"
#include "esp_memory_utils.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "heap_caps_native.h"
#include "memory_profile.h"

#define HELD_MAX 300
#define SITES 7U
#define PAIRS 1000

typedef struct {
    uint32_t bytes[MEMORY_PROFILE_MEMORIES];
    uint32_t blocks;
} sum_t;

static void *s_held[HELD_MAX];
static size_t s_count;
static unsigned s_random, s_moved, s_failed, s_refused, s_code;
static uintptr_t s_site;
static char s_names[][16] = {"main", "state", "stt_capture"};
static unsigned s_task;
static bool s_in_isr, s_before_scheduler;
static int64_t s_sections;

/* --- Fake ESP-IDF with one thread; backtraces lead to the call site s_site --- */

void vPortEnterCritical(portMUX_TYPE *mux)
{
    (void)mux;
    s_sections++;
}

void vPortExitCritical(portMUX_TYPE *mux)
{
    (void)mux;
}

BaseType_t xPortInIsrContext(void)
{
    return s_in_isr;
}

TaskHandle_t xTaskGetCurrentTaskHandle(void)
{
    return s_before_scheduler ? NULL : (TaskHandle_t)&s_names[s_task];
}

char *pcTaskGetName(TaskHandle_t task)
{
    return (char *)task;
}

int64_t esp_timer_get_time(void)
{
    return s_sections; /* 1 µs each */
}

/* The backtrace: a wrapper, a function of heap_caps.c, then the site and its caller. */
void esp_backtrace_get_start(uintptr_t *pc, uintptr_t *sp, uintptr_t *next_pc)
{
    *pc = 1;
    *sp = 3;
    *next_pc = 2;
}

bool esp_backtrace_get_next_frame(esp_backtrace_frame_t *frame)
{
    const uintptr_t after[] = {0, 100, s_site};
    frame->pc = frame->next_pc;
    frame->next_pc = after[--frame->sp];
    return true;
}

/* --- Comparing --- */

static void differ(const char *what, unsigned long a, unsigned long b)
{
    printf("%s: %lu %lu\n", what, a, b);
    exit(1);
}

static bool add_block(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    (void)heap;
    sum_t *sum = user_data;
    if (block.used) {
        sum->bytes[esp_ptr_external_ram(block.ptr)] += (uint32_t)block.size;
        sum->blocks++;
    }
    return true;
}

static void compare(const char *when)
{
    sum_t walked = {0}, counted = {0};
    heap_caps_walk_all(add_block, &walked);
    memory_profile_site_t site;
    for (size_t i = 0; memory_profile_get_site(i, &site); i++) {
        counted.bytes[site.memory] += site.use.bytes;
        counted.blocks += site.use.blocks;
    }
    memory_profile_loss_t loss;
    memory_profile_get_loss(&loss);
    uint32_t of_tasks = 0;
    memory_profile_task_t task;
    for (size_t i = 0; memory_profile_get_task(i, &task); i++) {
        of_tasks += task.use.bytes;
    }
    if (of_tasks != counted.bytes[0] + counted.bytes[1]) {
        differ("tasks and sites", of_tasks, counted.bytes[0] + counted.bytes[1]);
    }
    for (int memory = 0; memory < MEMORY_PROFILE_MEMORIES; memory++) {
        counted.bytes[memory] += loss.bytes[memory];
        counted.blocks += loss.blocks[memory];
        if (counted.bytes[memory] != walked.bytes[memory]) {
            differ(when, counted.bytes[memory], walked.bytes[memory]);
        }
    }
    if (counted.blocks != walked.blocks || loss.unknown_frees != 0) {
        differ("blocks", counted.blocks, walked.blocks);
    }
}

/* Number of allocations at a site by the task `name`; NULL: by any task. */
static uint32_t allocations(uintptr_t at, const char *name)
{
    memory_profile_site_t site;
    uint32_t found = 0;
    for (size_t i = 0; memory_profile_get_site(i, &site); i++) {
        if (site.frames[0] == at && site.frames[1] == 100 && site.frames[2] == 0 &&
            (name == NULL || strcmp(site.task, name) == 0)) {
            found += site.use.allocations;
        }
    }
    return found;
}

/* --- Steps --- */

static unsigned any(unsigned below)
{
    s_random = s_random * 1664525 + 1013904223;
    return (s_random >> 8) % below;
}

static void *take(size_t size)
{
    static const uint32_t CAPS[] = {MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT, MALLOC_CAP_DMA, MALLOC_CAP_SPIRAM};
    uint32_t caps = CAPS[any(3)];
    switch (any(5)) {
    case 0: return heap_caps_calloc(1 + any(4), size / 4 + 1, caps);
    case 1: return heap_caps_aligned_alloc(1U << (2 + any(6)), size, caps);
    case 2: return heap_caps_malloc_default(size);
    case 3: return heap_caps_realloc(NULL, size, caps);
    default: return heap_caps_malloc(size, caps);
    }
}

static void resize(size_t index, size_t size)
{
    uint32_t caps = any(2) ? MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT : MALLOC_CAP_SPIRAM;
    void *resized = heap_caps_realloc(s_held[index], size, caps);
    if (resized != NULL) {
        s_moved += resized != s_held[index];
        s_held[index] = resized;
    } else if (size == 0) {
        s_held[index] = s_held[--s_count];
    } else {
        s_refused++;
    }
}

static void empty(void)
{
    while (s_count > 0) {
        heap_caps_free(s_held[--s_count]);
    }
}

static void step(void)
{
    s_site = 1000 + any(SITES);
    s_task = any(3);
    size_t size = any(6) == 0 ? any(600000) : any(2000);
    uint32_t before = allocations(s_site, s_names[s_task]);
    if (any(5) == 0 && s_count > 0) {
        void *old = s_held[s_count - 1];
        resize(s_count - 1, size);
        bool done = s_count > 0 && size > 0 && s_held[s_count - 1] != old;
        if (done && allocations(s_site, s_names[s_task]) != before + 1) {
            differ("resized block counts elsewhere", before, s_site);
        }
    } else if (any(2) == 0 && s_count < HELD_MAX) {
        void *block = take(size + 1);
        s_failed += block == NULL;
        if (block != NULL) {
            s_held[s_count++] = block;
            if (allocations(s_site, s_names[s_task]) != before + 1) {
                differ("block counts elsewhere", before, s_site);
            }
        }
    } else if (s_count > 0) {
        size_t index = any((unsigned)s_count);
        heap_caps_free(s_held[index]);
        s_held[index] = s_held[--s_count];
    }
}

/* Checks EXEC blocks: their addresses are on the instruction bus, outside the address range of every heap. */
static void check_code(void)
{
    void *blocks[40];
    size_t count = 0;
    while (count < 40 && (blocks[count] = heap_caps_malloc(10000, MALLOC_CAP_EXEC)) != NULL) {
        s_code += esp_ptr_in_diram_iram(blocks[count++]);
    }
    compare("code");
    while (count > 0) {
        heap_caps_free(blocks[--count]);
    }
    compare("code freed");
}

static void check_callers(void)
{
    s_site = 2000;
    s_in_isr = true;
    heap_caps_free(heap_caps_malloc(8, MALLOC_CAP_8BIT));
    s_in_isr = false;
    s_before_scheduler = true;
    heap_caps_free(heap_caps_malloc(8, MALLOC_CAP_8BIT));
    s_before_scheduler = false;
    if (allocations(2000, "(isr)") != 1 || allocations(2000, "(startup)") != 1) {
        differ("caller", allocations(2000, "(isr)"), allocations(2000, "(startup)"));
    }
}

static void check_mark(void)
{
    memory_profile_site_t site;
    memory_profile_task_t task;
    s_held[s_count++] = heap_caps_malloc(500, MALLOC_CAP_8BIT);
    memory_profile_mark();
    for (size_t i = 0; memory_profile_get_site(i, &site); i++) {
        if (site.bytes_since_mark != 0 || site.blocks_since_mark != 0 || site.allocations_since_mark != 0) {
            differ("change at the mark", i, (unsigned long)site.bytes_since_mark);
        }
    }
    heap_caps_free(s_held[--s_count]);
    int32_t bytes = 0, blocks = 0, of_tasks = 0;
    for (size_t i = 0; memory_profile_get_site(i, &site); i++) {
        bytes += site.bytes_since_mark;
        blocks += site.blocks_since_mark;
    }
    for (size_t i = 0; memory_profile_get_task(i, &task); i++) {
        of_tasks += task.bytes_since_mark;
    }
    if (bytes >= 0 || blocks != -1 || of_tasks != bytes || memory_profile_marked_ms() == 0) {
        differ("change since the mark", (unsigned long)-bytes, (unsigned long)-blocks);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    s_random = (unsigned)atoi(argv[1]);
    heap_system_t *system = boot_memory();
    if (system == NULL) {
        return 1;
    }
    heap_caps_native_init(system);
    heap_caps_malloc_extmem_enable(1000);
    s_held[s_count++] = heap_caps_malloc(100, MALLOC_CAP_8BIT); /* before the start */
    memory_profile_start();
    compare("start");
    for (int i = 0; i < atoi(argv[2]); i++) {
        step();
        compare("step");
    }
    check_code();
    check_callers();
    empty();
    check_mark();
    compare("end");
    memory_profile_loss_t loss;
    memory_profile_get_loss(&loss);
    memory_profile_cost_t cost;
    if (memory_profile_measure(PAIRS, &cost) != ESP_OK) {
        differ("measure", 0, 0);
    }
    compare("measured");
    printf("moved=%u failed=%u refused=%u code=%u no_slot=%" PRIu32 " with_ns=%" PRIu32 " without_ns=%" PRIu32
           "\n",
           s_moved, s_failed, s_refused, s_code, loss.no_slot, cost.with_ns, cost.without_ns);
    return 0;
}
