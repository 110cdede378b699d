/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The pools are in a static table, because their spinlocks must be in internal memory: the ESP32's atomic
 * instructions do not work on PSRAM.
 */
#include "memory_pool.h"

#include "esp_attr.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "pool_blocks.h"
#include "sdkconfig.h"

/* Header of a block from the heap. */
typedef struct {
    uintptr_t tag; /* distinguishes such a block from any other pointer */
    uintptr_t unused;
} heap_head_t;

struct memory_pool {
    portMUX_TYPE lock;
    const char *name; /* NULL: this entry is free */
    void *memory;
    pool_blocks_t blocks;
    uint32_t caps;
    bool fallback;
    uint32_t from_heap, heap_used, refused, misused;
};

static memory_pool_t s_pools[CONFIG_HOTPIN_MEM_POOLS_MAX];
static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED; /* guards the creation of pools */
static const char CREATING[] = "";                         /* name of a pool that is being created */

_Static_assert(MEMORY_POOL_BLOCKS_MAX == POOL_COUNT_MAX, "the documented limit");

size_t memory_pool_static_size(void)
{
    return sizeof(s_pools) + sizeof(s_lock);
}

/* --- Pools --- */

static memory_pool_t *claim(void)
{
    memory_pool_t *pool = NULL;
    taskENTER_CRITICAL(&s_lock);
    for (size_t i = 0; i < CONFIG_HOTPIN_MEM_POOLS_MAX && pool == NULL; i++) {
        if (s_pools[i].name == NULL) {
            pool = &s_pools[i];
            pool->name = CREATING;
        }
    }
    taskEXIT_CRITICAL(&s_lock);
    return pool;
}

static void set_name(memory_pool_t *pool, const char *name)
{
    taskENTER_CRITICAL(&s_lock);
    pool->name = name;
    taskEXIT_CRITICAL(&s_lock);
}

memory_pool_t *memory_pool_create(const char *name, size_t block, size_t count, uint32_t caps)
{
    size_t bytes = pool_bytes(block, count);
    memory_pool_t *pool = name != NULL && bytes > 0 ? claim() : NULL;
    if (pool == NULL) {
        return NULL;
    }
    void *memory = heap_caps_malloc(bytes, caps);
    if (memory == NULL) {
        set_name(pool, NULL);
        return NULL;
    }
    *pool = (memory_pool_t){
        .lock = portMUX_INITIALIZER_UNLOCKED,
        .name = CREATING,
        .memory = memory,
        .caps = caps,
    };
    pool_init(&pool->blocks, memory, block, count);
    set_name(pool, name);
    return pool;
}

static bool is_pool(const memory_pool_t *pool)
{
    uintptr_t offset = (uintptr_t)pool - (uintptr_t)s_pools; /* wraps below the table */
    return offset < sizeof(s_pools) && offset % sizeof(*pool) == 0 && pool->name != NULL &&
           pool->name != CREATING;
}

memory_pool_t *memory_pool_at(size_t number)
{
    return number < CONFIG_HOTPIN_MEM_POOLS_MAX && is_pool(&s_pools[number]) ? &s_pools[number] : NULL;
}

esp_err_t memory_pool_delete(memory_pool_t *pool)
{
    if (!is_pool(pool)) {
        return ESP_ERR_INVALID_ARG;
    }
    taskENTER_CRITICAL(&pool->lock);
    bool idle = pool->blocks.used == 0 && pool->heap_used == 0;
    taskEXIT_CRITICAL(&pool->lock);
    if (!idle) {
        return ESP_ERR_INVALID_STATE;
    }
    heap_caps_free(pool->memory);
    set_name(pool, NULL);
    return ESP_OK;
}

void memory_pool_set_fallback(memory_pool_t *pool, bool heap)
{
    taskENTER_CRITICAL(&pool->lock);
    pool->fallback = heap;
    taskEXIT_CRITICAL(&pool->lock);
}

esp_err_t memory_pool_get_stats(const memory_pool_t *pool, memory_pool_stats_t *out)
{
    if (!is_pool(pool) || out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    portMUX_TYPE *lock = (portMUX_TYPE *)&pool->lock;
    taskENTER_CRITICAL(lock);
    *out = (memory_pool_stats_t){
        .name = pool->name,
        .caps = pool->caps,
        .block_size = pool->blocks.block_size,
        .count = pool->blocks.count,
        .used = pool->blocks.used,
        .high_water = pool->blocks.high_water,
        .from_heap = pool->from_heap,
        .heap_used = pool->heap_used,
        .refused = pool->refused,
        .misused = pool->misused,
    };
    taskEXIT_CRITICAL(lock);
    out->bytes = (uint32_t)pool_bytes(out->block_size, out->count);
    return ESP_OK;
}

/* --- Blocks --- */

static IRAM_ATTR uintptr_t tag_of(const memory_pool_t *pool, const heap_head_t *head)
{
    return (uintptr_t)pool ^ ~(uintptr_t)head;
}

static IRAM_ATTR void *take_from_heap(memory_pool_t *pool)
{
    heap_head_t *head = heap_caps_malloc(sizeof(heap_head_t) + pool->blocks.block_size, pool->caps);
    if (head != NULL) {
        head->tag = tag_of(pool, head);
    }
    portENTER_CRITICAL_SAFE(&pool->lock);
    if (head != NULL) {
        pool->from_heap++;
        pool->heap_used++;
    } else {
        pool->refused++;
    }
    portEXIT_CRITICAL_SAFE(&pool->lock);
    return head != NULL ? head + 1 : NULL;
}

IRAM_ATTR void *memory_pool_alloc(memory_pool_t *pool)
{
    bool may_use_heap = !xPortInIsrContext();
    portENTER_CRITICAL_SAFE(&pool->lock);
    void *block = pool_take(&pool->blocks);
    may_use_heap = may_use_heap && pool->fallback;
    if (block == NULL && !may_use_heap) {
        pool->refused++;
    }
    portEXIT_CRITICAL_SAFE(&pool->lock);
    return block != NULL || !may_use_heap ? block : take_from_heap(pool);
}

/* Returns a heap block's header and counts the block as freed; NULL if it is not from the heap. Call with the
 * lock held. */
static IRAM_ATTR heap_head_t *heap_block(memory_pool_t *pool, void *block)
{
    if (pool->heap_used == 0 || block == NULL || (uintptr_t)block % sizeof(uint32_t) != 0) {
        return NULL;
    }
    heap_head_t *head = (heap_head_t *)block - 1;
    if (head->tag != tag_of(pool, head)) {
        return NULL;
    }
    head->tag = 0;
    pool->heap_used--;
    return head;
}

IRAM_ATTR esp_err_t memory_pool_free(memory_pool_t *pool, void *block)
{
    esp_err_t err = ESP_OK;
    heap_head_t *head = NULL;
    bool is_isr = xPortInIsrContext();
    portENTER_CRITICAL_SAFE(&pool->lock);
    switch (pool_give(&pool->blocks, block)) {
    case POOL_GIVEN: break;
    case POOL_FREE: err = ESP_ERR_INVALID_STATE; break;
    case POOL_INSIDE: err = ESP_ERR_INVALID_ARG; break;
    case POOL_OUTSIDE:
        head = is_isr ? NULL : heap_block(pool, block);
        if (head == NULL) {
            err = is_isr && pool->heap_used > 0 ? ESP_ERR_INVALID_STATE : ESP_ERR_INVALID_ARG;
        }
        break;
    }
    if (err != ESP_OK) {
        pool->misused++;
    }
    portEXIT_CRITICAL_SAFE(&pool->lock);
    if (head != NULL) {
        heap_caps_free(head);
    }
    return err;
}
