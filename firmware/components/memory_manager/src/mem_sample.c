/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mem_sample.h"

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "heap_memory_layout.h"
#include "mem_layout.h"

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static uint32_t s_minimum_ever; /* lowest free size of MEM_CAPS_TOTAL since boot; guarded by s_lock */

static uint32_t lower_minimum(uint32_t seen)
{
    taskENTER_CRITICAL(&s_lock);
    if (seen < s_minimum_ever) {
        s_minimum_ever = seen;
    }
    uint32_t minimum = s_minimum_ever;
    taskEXIT_CRITICAL(&s_lock);
    return minimum;
}

esp_err_t mem_sample_init(void)
{
    s_minimum_ever = (uint32_t)heap_caps_get_minimum_free_size(MEM_CAPS_TOTAL);
    return heap_caps_monitor_local_minimum_free_size_start();
}

/* Called with the heap locked and interrupts off: must not print, allocate or take a lock. */
static bool count_block(walker_heap_into_t heap, walker_block_info_t block, void *census)
{
    if (!block.used) {
        mem_census_add(census, (uintptr_t)heap.start, block.size);
    }
    return true;
}

static void sample_one(uint32_t caps, uint32_t *free_bytes, uint32_t *largest, uint32_t *fragmentation,
                       uint32_t *watermark)
{
    mem_census_t census = {0};
    *free_bytes = (uint32_t)heap_caps_get_free_size(caps);
    *largest = (uint32_t)heap_caps_get_largest_free_block(caps);
    *watermark = (uint32_t)heap_caps_get_minimum_free_size(caps);
    heap_caps_walk(caps, count_block, &census);
    *fragmentation = mem_census_fragmentation(&census);
}

/* Free memory of INTERNAL minus that of INTERNAL | 8BIT. Reads again if another task allocated in between. */
static uint32_t iram_free(void)
{
    size_t before, all, after;
    int tries = 3;
    do {
        before = heap_caps_get_free_size(MEM_CAPS_INTERNAL);
        all = heap_caps_get_free_size(MALLOC_CAP_INTERNAL);
        after = heap_caps_get_free_size(MEM_CAPS_INTERNAL);
    } while (before != after && --tries > 0);
    return all > after ? (uint32_t)(all - after) : 0;
}

void mem_sample_take(memory_stats_t *out)
{
    out->timestamp_ms = esp_log_timestamp();
    sample_one(MEM_CAPS_INTERNAL, &out->internal_free, &out->internal_largest, &out->internal_fragmentation,
               &out->internal_watermark);
    sample_one(MEM_CAPS_DMA, &out->dma_free, &out->dma_largest, &out->dma_fragmentation, &out->dma_watermark);
    sample_one(MEM_CAPS_PSRAM, &out->psram_free, &out->psram_largest, &out->psram_fragmentation,
               &out->psram_watermark);
    out->total_free = (uint32_t)heap_caps_get_free_size(MEM_CAPS_TOTAL);
    out->total_watermark = (uint32_t)heap_caps_get_minimum_free_size(MEM_CAPS_TOTAL);
    out->total_minimum_free = lower_minimum(out->total_watermark);
    out->iram_free = iram_free();
}

void mem_sample_new_window(void)
{
    lower_minimum((uint32_t)heap_caps_get_minimum_free_size(MEM_CAPS_TOTAL));
    heap_caps_monitor_local_minimum_free_size_start();
}

size_t mem_sample_static_size(void)
{
    return sizeof(s_lock) + sizeof(s_minimum_ever);
}

uint32_t memory_manager_get_free_internal(void)
{
    return (uint32_t)heap_caps_get_free_size(MEM_CAPS_INTERNAL);
}

uint32_t memory_manager_get_free_dma(void)
{
    return (uint32_t)heap_caps_get_free_size(MEM_CAPS_DMA);
}

uint32_t memory_manager_get_free_psram(void)
{
    return (uint32_t)heap_caps_get_free_size(MEM_CAPS_PSRAM);
}

/*
 * The allocator rounds a request up to a size class, and takes a free block of that class or above. So the
 * request needs a block whose size, rounded *down* to a class, is at least `size`.
 * heap_caps_get_largest_free_block() returns the largest such rounded size, so the comparison is exact.
 */
static bool available(size_t size, uint32_t caps)
{
    return size > 0 && size <= heap_caps_get_largest_free_block(caps);
}

bool memory_manager_check_dma_available(size_t size)
{
    return available(size, MEM_CAPS_DMA);
}

bool memory_manager_check_psram_available(size_t size)
{
    return available(size, MEM_CAPS_PSRAM);
}

/* Capabilities, by priority, of the pool that CONFIG_SPIRAM_MALLOC_RESERVE_INTERNAL creates: a heap inside a
 * block of another heap (ESP-IDF: esp_psram_extram_reserve_dma_pool()). */
static const uint32_t POOL_CAPS[SOC_MEMORY_TYPE_NO_PRIOS] = {
    0, MALLOC_CAP_DMA | MALLOC_CAP_INTERNAL, MALLOC_CAP_DEFAULT | MALLOC_CAP_8BIT | MALLOC_CAP_32BIT};

/* heap_caps_malloc() passes over all heaps once per priority. Returns the first pass in which it may take a
 * heap with these capabilities. */
static uint8_t first_pass(const uint32_t priorities[SOC_MEMORY_TYPE_NO_PRIOS], uint32_t caps)
{
    uint8_t pass = 0;
    while (pass < SOC_MEMORY_TYPE_NO_PRIOS - 1 && (priorities[pass] & caps) == 0) {
        pass++;
    }
    return pass;
}

static uint8_t heap_pass(intptr_t start, uint32_t caps)
{
    for (size_t i = 0; i < soc_memory_region_count; i++) {
        const soc_memory_region_t *region = &soc_memory_regions[i];
        if (start >= region->start && start - region->start < (intptr_t)region->size) {
            return first_pass(soc_memory_types[region->type].caps, caps);
        }
    }
    return 0;
}

typedef struct {
    mem_place_t place;
    uint32_t caps;
    intptr_t heap_start; //!< Of the heap that was added last
} collection_t;

/* Called with the heap locked and interrupts off, like count_block(). */
static bool collect_block(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    collection_t *collection = user_data;
    if (heap.start != collection->heap_start) {
        collection->heap_start = heap.start;
        mem_place_heap(&collection->place, (uintptr_t)heap.start, (uintptr_t)heap.end,
                       heap_pass(heap.start, collection->caps));
    }
    if (!block.used) {
        mem_place_add(&collection->place, block.size);
    }
    return true;
}

esp_err_t memory_manager_place(uint32_t caps, const size_t sizes[], size_t count, memory_placement_t *out)
{
    collection_t collection = {.place.nested_pass = first_pass(POOL_CAPS, caps), .caps = caps};
    /* EXEC memory has its own allocation path, and no memory of the ESP32 is both DMA-capable and
     * external. */
    bool caps_good = caps != 0 && !(caps & (MALLOC_CAP_EXEC | MALLOC_CAP_INVALID)) &&
                     (caps & (MALLOC_CAP_SPIRAM | MALLOC_CAP_DMA)) != (MALLOC_CAP_SPIRAM | MALLOC_CAP_DMA);
    if (!caps_good || sizes == NULL || count == 0 || count > MEMORY_PLACE_MAX || out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    heap_caps_walk(caps, collect_block, &collection);
    mem_place_run(&collection.place, sizes, count, out);
    return ESP_OK;
}
