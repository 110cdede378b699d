/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Wraps the functions of ESP-IDF that every allocation and every free calls (heap_caps_base.c), with the
 * linker's --wrap. README.md explains why ESP-IDF's heap hooks do not suffice.
 *
 * Like the heap, the wrappers run in any task, on either core, before the scheduler starts and while the
 * flash cache is off: their code is in IRAM, and their tables are in internal memory.
 */
#include "memory_profile.h"

#include <string.h>

#include "esp_attr.h"
#include "esp_debug_helpers.h"
#include "esp_heap_caps.h"
#include "esp_memory_utils.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "profile_table.h"
#include "sdkconfig.h"

#define BLOCK_SLOTS CONFIG_HOTPIN_MEM_PROFILE_BLOCK_SLOTS
#define SITES CONFIG_HOTPIN_MEM_PROFILE_SITES
#define INDEX_SLOTS 512U
#define TASKS 24U
#define MEASURED_BLOCK 64U /* bytes */

_Static_assert((BLOCK_SLOTS & (BLOCK_SLOTS - 1)) == 0,
               "HOTPIN_MEM_PROFILE_BLOCK_SLOTS must be a power of two");
_Static_assert(SITES < INDEX_SLOTS && SITES <= PROFILE_ROWS_MAX, "HOTPIN_MEM_PROFILE_SITES is too large");

void *heap_caps_malloc_base(size_t size, uint32_t caps);
void *__real_heap_caps_malloc_base(size_t size, uint32_t caps);
void *__real_heap_caps_aligned_alloc_base(size_t alignment, size_t size, uint32_t caps);
void *__real_heap_caps_calloc_base(size_t n, size_t size, uint32_t caps);
void *__real_heap_caps_realloc_base(void *ptr, size_t size, uint32_t caps);
void __real_heap_caps_free(void *ptr);
void *__wrap_heap_caps_malloc_base(size_t size, uint32_t caps);
void *__wrap_heap_caps_aligned_alloc_base(size_t alignment, size_t size, uint32_t caps);
void *__wrap_heap_caps_calloc_base(size_t n, size_t size, uint32_t caps);
void *__wrap_heap_caps_realloc_base(void *ptr, size_t size, uint32_t caps);
void __wrap_heap_caps_free(void *ptr);

static profile_block_t s_blocks[BLOCK_SLOTS];
static profile_row_t s_rows[SITES];
static uint16_t s_index[INDEX_SLOTS];
static profile_task_t s_tasks[TASKS];
static DRAM_ATTR profile_table_t s_table = {
    .blocks = s_blocks,
    .block_slots = BLOCK_SLOTS,
    .rows = s_rows,
    .row_index = s_index,
    .index_slots = INDEX_SLOTS,
    .row_max = SITES,
    .tasks = s_tasks,
    .task_max = TASKS,
};
static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static uint32_t s_marked_ms;

static IRAM_ATTR memory_profile_memory_t memory_of(const void *ptr)
{
    return esp_ptr_external_ram(ptr) ? MEMORY_PROFILE_PSRAM : MEMORY_PROFILE_INTERNAL;
}

/** Size as heap_caps counts it. An EXEC block has an address on the instruction bus; the word before it is
 * its address on the data bus (heap_caps_base.c, dram_alloc_to_iram_addr()). */
static IRAM_ATTR uint32_t size_of(void *ptr)
{
    if (esp_ptr_in_diram_iram(ptr)) {
        ptr = (void *)(uintptr_t)((uint32_t *)ptr)[-1];
    }
    return (uint32_t)heap_caps_get_allocated_size(ptr);
}

static IRAM_ATTR const char *name_of_caller(void)
{
    static DRAM_ATTR const char ISR[] = "(isr)";
    static DRAM_ATTR const char STARTUP[] = "(startup)";
    if (xPortInIsrContext()) {
        return ISR;
    }
    TaskHandle_t task = xTaskGetCurrentTaskHandle();
    return task == NULL ? STARTUP : pcTaskGetName(task);
}

static IRAM_ATTR inline bool next_frame(esp_backtrace_frame_t *frame)
{
#ifdef __XTENSA__
    /* Like esp_backtrace_get_next_frame(), but without a call per frame, and without the check that the
     * return address is executable: here it is only a number. */
    uintptr_t caller = frame->sp;
    frame->pc = frame->next_pc;
    frame->next_pc = *(uint32_t *)(caller - 16U);
    frame->sp = *(uint32_t *)(caller - 12U);
    return esp_stack_ptr_is_sane(frame->sp);
#else
    return esp_backtrace_get_next_frame(frame);
#endif
}

/** Reads the return addresses of the caller's callers. Not inlined: esp_backtrace_get_start() starts with the
 * caller of this function, which is a wrapper. The wrapper's caller is in heap_caps.c. Both are skipped. */
static IRAM_ATTR NOINLINE_ATTR void note(void *ptr)
{
    uint32_t frames[MEMORY_PROFILE_FRAMES] = {0};
    esp_backtrace_frame_t frame = {0};
    esp_backtrace_get_start(&frame.pc, &frame.sp, &frame.next_pc);
    bool more = frame.next_pc != 0 && next_frame(&frame);
    for (uint32_t i = 0; i < MEMORY_PROFILE_FRAMES && more && frame.next_pc != 0; i++) {
        more = next_frame(&frame);
        frames[i] = more ? (uint32_t)frame.pc : 0;
    }
    uint32_t size = size_of(ptr);
    const char *name = name_of_caller();
    portENTER_CRITICAL_SAFE(&s_lock);
    profile_table_add(&s_table, (uint32_t)(uintptr_t)ptr, size, memory_of(ptr), frames, name);
    portEXIT_CRITICAL_SAFE(&s_lock);
}

/** Removes a block before it is freed: afterwards another task may get the same address. */
static IRAM_ATTR profile_block_t forget(void *ptr)
{
    portENTER_CRITICAL_SAFE(&s_lock);
    profile_block_t block = profile_table_remove(&s_table, (uint32_t)(uintptr_t)ptr);
    portEXIT_CRITICAL_SAFE(&s_lock);
    return block;
}

/** Size of a block that is not in the table because the table was full. 0 if all blocks of this memory type
 * are in the table: then the pointer is invalid, and the real function reports that. */
static IRAM_ATTR uint32_t lost_size(void *ptr)
{
    return s_table.loss.blocks[memory_of(ptr)] > 0 ? size_of(ptr) : 0;
}

static IRAM_ATTR void forget_unknown(uint32_t size, memory_profile_memory_t memory)
{
    portENTER_CRITICAL_SAFE(&s_lock);
    profile_table_freed_unknown(&s_table, size, memory);
    portEXIT_CRITICAL_SAFE(&s_lock);
}

IRAM_ATTR void *__wrap_heap_caps_malloc_base(size_t size, uint32_t caps)
{
    void *ptr = __real_heap_caps_malloc_base(size, caps);
    if (ptr != NULL) {
        note(ptr);
    }
    return ptr;
}

IRAM_ATTR void *__wrap_heap_caps_aligned_alloc_base(size_t alignment, size_t size, uint32_t caps)
{
    void *ptr = __real_heap_caps_aligned_alloc_base(alignment, size, caps);
    if (ptr != NULL) {
        note(ptr);
    }
    return ptr;
}

IRAM_ATTR void *__wrap_heap_caps_calloc_base(size_t n, size_t size, uint32_t caps)
{
    void *ptr = __real_heap_caps_calloc_base(n, size, caps);
    if (ptr != NULL) {
        note(ptr);
    }
    return ptr;
}

/** The block may move, and ESP-IDF then frees the old one without a call that could be wrapped. */
IRAM_ATTR void *__wrap_heap_caps_realloc_base(void *ptr, size_t size, uint32_t caps)
{
    profile_block_t old = {0};
    memory_profile_memory_t memory = memory_of(ptr);
    uint32_t unknown = 0;
    if (ptr != NULL) {
        old = forget(ptr);
        unknown = old.address == 0 ? lost_size(ptr) : 0;
    }
    void *result = __real_heap_caps_realloc_base(ptr, size, caps);
    if (result == NULL && size > 0) { /* failed: the old block remains */
        portENTER_CRITICAL_SAFE(&s_lock);
        profile_table_restore(&s_table, old);
        portEXIT_CRITICAL_SAFE(&s_lock);
        return NULL;
    }
    if (ptr != NULL && old.address == 0) {
        forget_unknown(unknown, memory);
    }
    if (result != NULL) {
        note(result);
    }
    return result;
}

IRAM_ATTR void __wrap_heap_caps_free(void *ptr)
{
    if (ptr != NULL && forget(ptr).address == 0) {
        forget_unknown(lost_size(ptr), memory_of(ptr));
    }
    __real_heap_caps_free(ptr);
}

/* --- API --- */

/** Runs with the heap locked and interrupts off. */
static bool adopt(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    (void)heap;
    (void)user_data;
    static const uint32_t NO_FRAMES[MEMORY_PROFILE_FRAMES];
    uint32_t address = (uint32_t)(uintptr_t)block.ptr;
    portENTER_CRITICAL(&s_lock);
    if (block.used && !profile_table_knows(&s_table, address)) {
        profile_table_add(&s_table, address, (uint32_t)block.size, memory_of(block.ptr), NO_FRAMES,
                          "(startup)");
    }
    portEXIT_CRITICAL(&s_lock);
    return true;
}

void memory_profile_start(void)
{
    heap_caps_walk_all(adopt, NULL);
}

/** Table index of the index-th used row; the rows of allocations that found no row come last. -1: none. */
static int32_t row_at(size_t index)
{
    if (index < s_table.row_count) {
        return (int32_t)index;
    }
    index -= s_table.row_count;
    for (uint32_t i = s_table.row_max - MEMORY_PROFILE_MEMORIES; i < s_table.row_max; i++) {
        if (s_table.rows[i].use.allocations > 0 && index-- == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

bool memory_profile_get_site(size_t index, memory_profile_site_t *site)
{
    portENTER_CRITICAL(&s_lock);
    int32_t at = row_at(index);
    if (at >= 0) {
        const profile_row_t *row = &s_table.rows[at];
        memcpy(site->task, s_table.tasks[row->task].name, sizeof(site->task));
        memcpy(site->frames, row->frames, sizeof(site->frames));
        site->memory = (memory_profile_memory_t)row->memory;
        site->use = row->use;
        site->bytes_since_mark = (int32_t)(row->use.bytes - row->mark.bytes);
        site->blocks_since_mark = (int32_t)(row->use.blocks - row->mark.blocks);
        site->allocations_since_mark = row->use.allocations - row->mark.allocations;
    }
    portEXIT_CRITICAL(&s_lock);
    return at >= 0;
}

bool memory_profile_get_task(size_t index, memory_profile_task_t *task)
{
    portENTER_CRITICAL(&s_lock);
    uint32_t last = s_table.task_max - 1U;
    bool exists =
        index < s_table.task_count || (index == s_table.task_count && s_table.tasks[last].name[0] != '\0');
    if (exists) {
        const profile_task_t *kept = &s_table.tasks[index < s_table.task_count ? index : last];
        memcpy(task->task, kept->name, sizeof(task->task));
        task->use = kept->use;
        task->bytes_since_mark = (int32_t)(kept->use.bytes - kept->mark.bytes);
        task->blocks_since_mark = (int32_t)(kept->use.blocks - kept->mark.blocks);
        task->allocations_since_mark = kept->use.allocations - kept->mark.allocations;
    }
    portEXIT_CRITICAL(&s_lock);
    return exists;
}

void memory_profile_get_loss(memory_profile_loss_t *loss)
{
    portENTER_CRITICAL(&s_lock);
    *loss = s_table.loss;
    portEXIT_CRITICAL(&s_lock);
}

void memory_profile_mark(void)
{
    portENTER_CRITICAL(&s_lock);
    profile_table_mark(&s_table);
    s_marked_ms = (uint32_t)(esp_timer_get_time() / 1000);
    portEXIT_CRITICAL(&s_lock);
}

uint32_t memory_profile_marked_ms(void)
{
    return s_marked_ms;
}

static uint32_t per_pair_ns(int64_t took_us, uint32_t pairs)
{
    return (uint32_t)(took_us * 1000 / pairs);
}

esp_err_t memory_profile_measure(uint32_t pairs, memory_profile_cost_t *cost)
{
    const uint32_t caps = MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT;
    if (pairs == 0 || cost == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    int64_t start_us = esp_timer_get_time();
    for (uint32_t i = 0; i < pairs; i++) {
        void *block = heap_caps_malloc_base(MEASURED_BLOCK, caps);
        if (block == NULL) {
            return ESP_ERR_NO_MEM;
        }
        heap_caps_free(block);
    }
    int64_t middle_us = esp_timer_get_time();
    for (uint32_t i = 0; i < pairs; i++) {
        void *block = __real_heap_caps_malloc_base(MEASURED_BLOCK, caps);
        if (block == NULL) {
            return ESP_ERR_NO_MEM;
        }
        __real_heap_caps_free(block);
    }
    cost->with_ns = per_pair_ns(middle_us - start_us, pairs);
    cost->without_ns = per_pair_ns(esp_timer_get_time() - middle_us, pairs);
    return ESP_OK;
}

size_t memory_profile_static_bytes(void)
{
    return sizeof(s_blocks) + sizeof(s_rows) + sizeof(s_index) + sizeof(s_tasks) + sizeof(s_table) +
           sizeof(s_lock) + sizeof(s_marked_ms);
}
