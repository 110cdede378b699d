/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.pool: the pools. For tests: a test pool, wrong calls, calls from an interrupt, and a load with the
 * allocation pattern of speech, from a pool or from the heap.
 */
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "esp_attr.h"
#include "esp_heap_caps.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "esp_freertos_hooks.h" /* after FreeRTOS.h, which it needs if there are two cores */
#include "freertos/task.h"
#include "memory_pool.h"
#include "sdkconfig.h"

#define NAME_SIZE 16
#define TAKEN_MAX 64
#define FILLING 0xA5
#define KEPT_MAX 100
#define QUEUE 6 /* chunks that wait for playback */
#define CHUNKS_MIN 2
#define CHUNKS_MAX 13
#define KEEP_EVERY 10 /* plays */
#define KEPT_SIZE_MIN 48
#define KEPT_SIZE_MAX 247
#define INTERRUPTS_MAX 1000
#define RUNS_MAX 10000
#define ROW_SIZE 260
#define NUMBER_SIZE sizeof("4294967295,")

static memory_pool_t *s_pool; /* NULL: none was created */
static char s_name[NAME_SIZE];
static void *s_taken[TAKEN_MAX];
static size_t s_taken_count;
static void *s_kept[KEPT_MAX];
static size_t s_kept_count;

static void add_pools(console_reply_t *reply)
{
    console_array_begin(reply, "pools");
    for (size_t i = 0; i < CONFIG_HOTPIN_MEM_POOLS_MAX; i++) {
        memory_pool_stats_t stats;
        if (memory_pool_get_stats(memory_pool_at(i), &stats) != ESP_OK) {
            continue;
        }
        telemetry_record_t *record = console_room(reply, ROW_SIZE);
        telemetry_object_begin(record, NULL);
        telemetry_str(record, "name", stats.name);
        telemetry_u32(record, "block_size", stats.block_size);
        telemetry_u32(record, "count", stats.count);
        telemetry_u32(record, "used", stats.used);
        telemetry_u32(record, "high_water", stats.high_water);
        telemetry_u32(record, "from_heap", stats.from_heap);
        telemetry_u32(record, "heap_used", stats.heap_used);
        telemetry_u32(record, "refused", stats.refused);
        telemetry_u32(record, "misused", stats.misused);
        telemetry_u32(record, "bytes", stats.bytes);
        telemetry_object_end(record);
    }
    console_container_end(reply);
    console_u32(reply, "bytes_static", (uint32_t)memory_pool_static_size());
}

static void remove_all(void)
{
    while (s_taken_count > 0) {
        memory_pool_free(s_pool, s_taken[--s_taken_count]);
    }
    while (s_kept_count > 0) {
        heap_caps_free(s_kept[--s_kept_count]);
    }
    if (s_pool != NULL && memory_pool_delete(s_pool) == ESP_OK) {
        s_pool = NULL;
    }
}

static esp_err_t create(const console_request_t *request, console_reply_t *reply)
{
    if (s_pool != NULL) {
        return console_fail(reply, ESP_ERR_INVALID_STATE,
                            "the test's pool already exists (delete it with mem.pool off=1)");
    }
    snprintf(s_name, sizeof(s_name), "%s", console_arg(request, "create"));
    s_pool = memory_pool_create(s_name, console_arg_u32(request, "block", 0),
                                console_arg_u32(request, "count", 0), console_caps(request));
    if (s_pool == NULL) {
        return console_fail(reply, ESP_ERR_NO_MEM, "no memory, no free pool, or an invalid size");
    }
    memory_pool_set_fallback(s_pool, console_arg(request, "heap") != NULL);
    return ESP_OK;
}

/** Allocates blocks, writes to each of their bytes, and adds their addresses to the reply. */
static void take(console_reply_t *reply, uint32_t count)
{
    memory_pool_stats_t stats;
    memory_pool_get_stats(s_pool, &stats);
    console_array_begin(reply, "at");
    while (count-- > 0 && s_taken_count < TAKEN_MAX) {
        void *block = memory_pool_alloc(s_pool);
        if (block == NULL) {
            break;
        }
        memset(block, FILLING, stats.block_size);
        s_taken[s_taken_count++] = block;
        telemetry_u32(console_room(reply, NUMBER_SIZE), NULL, (uint32_t)(uintptr_t)block);
    }
    console_container_end(reply);
}

/** Frees the oldest blocks. */
static esp_err_t give(uint32_t count)
{
    esp_err_t err = ESP_OK;
    while (count-- > 0 && s_taken_count > 0 && err == ESP_OK) {
        err = memory_pool_free(s_pool, s_taken[0]);
        memmove(s_taken, s_taken + 1, --s_taken_count * sizeof(s_taken[0]));
    }
    return err;
}

/** Calls memory_pool_free() wrongly. @return its return value */
static esp_err_t misuse(const char *how)
{
    static uint32_t s_foreign[4];
    void *block = memory_pool_alloc(s_pool);
    bool twice = strcmp(how, "double") == 0 || strcmp(how, "stale") == 0;
    void *newer = twice ? memory_pool_alloc(s_pool) : NULL;
    esp_err_t err = ESP_OK;
    if (strcmp(how, "foreign") == 0) {
        err = memory_pool_free(s_pool, &s_foreign[2]);
    } else if (strcmp(how, "inside") == 0) {
        err = memory_pool_free(s_pool, (uint8_t *)block + 4);
    } else if (strcmp(how, "null") == 0) {
        err = memory_pool_free(s_pool, NULL);
    }
    esp_err_t good = block != NULL ? memory_pool_free(s_pool, block) : ESP_OK;
    if (twice && newer == NULL) {
        return ESP_ERR_NO_MEM; /* freeing twice needs two free blocks */
    }
    if (twice && good == ESP_OK) {
        memory_pool_free(s_pool, newer);
        return memory_pool_free(s_pool, strcmp(how, "double") == 0 ? newer : block);
    }
    return good == ESP_OK ? err : good;
}

/* --- Interrupts --- */

static DRAM_ATTR volatile uint32_t s_interrupts_left, s_interrupts_served, s_interrupts_failed;

static IRAM_ATTR void on_tick(void)
{
    if (s_interrupts_left == 0) {
        return;
    }
    void *block = memory_pool_alloc(s_pool);
    if (block != NULL) {
        s_interrupts_served++;
        s_interrupts_failed += memory_pool_free(s_pool, block) != ESP_OK;
    }
    s_interrupts_left--;
}

/** Makes the tick interrupt allocate and free a block at each tick, while this task does the same. */
static esp_err_t interrupt(console_reply_t *reply, uint32_t count)
{
    s_interrupts_served = 0;
    s_interrupts_failed = 0;
    s_interrupts_left = count;
    esp_err_t err = esp_register_freertos_tick_hook_for_cpu(on_tick, 0);
    if (err != ESP_OK) {
        return err;
    }
    while (s_interrupts_left > 0) {
        void *block = memory_pool_alloc(s_pool);
        if (block != NULL) {
            s_interrupts_failed += memory_pool_free(s_pool, block) != ESP_OK;
        }
        vTaskDelay(s_interrupts_left % 2);
    }
    esp_deregister_freertos_tick_hook_for_cpu(on_tick, 0);
    console_u32(reply, "served", s_interrupts_served);
    console_u32(reply, "failed", s_interrupts_failed);
    return ESP_OK;
}

/* --- Load --- */

static uint32_t s_random;

static uint32_t draw(uint32_t low, uint32_t high)
{
    s_random = s_random * 1664525u + 1013904223u; /* Numerical Recipes */
    return low + (s_random >> 8) % (high - low + 1);
}

typedef struct {
    uint8_t *chunks[QUEUE];
    size_t count;
    bool from_pool;
    uint32_t caps;
    uint32_t largest;
    uint32_t failed;
} stream_t;

static void put_chunk(stream_t *stream)
{
    uint32_t size = draw(1, stream->largest);
    uint8_t *chunk = stream->from_pool ? memory_pool_alloc(s_pool) : heap_caps_malloc(size, stream->caps);
    if (chunk == NULL) {
        stream->failed++;
        return;
    }
    chunk[0] = (uint8_t)stream->count; /* writes to the chunk, as a player would */
    chunk[size - 1] = (uint8_t)stream->count;
    stream->chunks[stream->count++] = chunk;
}

static void play_chunk(stream_t *stream)
{
    if (stream->count == 0) {
        return;
    }
    uint8_t *chunk = stream->chunks[0];
    memmove(stream->chunks, stream->chunks + 1, --stream->count * sizeof(chunk));
    if (!stream->from_pool) {
        heap_caps_free(chunk);
    } else if (memory_pool_free(s_pool, chunk) != ESP_OK) {
        stream->failed++;
    }
}

/** Simulates plays of mixed lengths in chunks of mixed sizes. Every tenth play leaves an object allocated, as
 * a cache would.
 */
static esp_err_t plays(const console_request_t *request, console_reply_t *reply)
{
    memory_pool_stats_t stats;
    stream_t stream = {.from_pool = console_arg(request, "from")[0] == 'p'};
    if (memory_pool_get_stats(s_pool, &stats) != ESP_OK) {
        return console_fail(reply, ESP_ERR_INVALID_STATE, "create a pool first");
    }
    stream.caps = stats.caps;
    stream.largest = stats.block_size;
    s_random = 1;
    uint32_t count = console_arg_u32(request, "plays", 0);
    for (uint32_t play = 1; play <= count; play++) {
        uint32_t chunks = draw(CHUNKS_MIN, CHUNKS_MAX);
        for (uint32_t i = 0; i < chunks; i++) {
            if (stream.count == QUEUE) {
                play_chunk(&stream);
            }
            put_chunk(&stream);
        }
        if (play % KEEP_EVERY == 0 && s_kept_count < KEPT_MAX) {
            s_kept[s_kept_count] = heap_caps_malloc(draw(KEPT_SIZE_MIN, KEPT_SIZE_MAX), stream.caps);
            s_kept_count += s_kept[s_kept_count] != NULL;
        }
        while (stream.count > 0) {
            play_chunk(&stream);
        }
    }
    console_u32(reply, "failed", stream.failed);
    console_u32(reply, "kept", (uint32_t)s_kept_count);
    return ESP_OK;
}

static esp_err_t bench(console_reply_t *reply, uint32_t runs)
{
    memory_pool_stats_t stats;
    memory_pool_get_stats(s_pool, &stats);
    int64_t start_us = esp_timer_get_time();
    for (uint32_t i = 0; i < runs; i++) {
        memory_pool_free(s_pool, memory_pool_alloc(s_pool));
    }
    int64_t pool_us = esp_timer_get_time();
    for (uint32_t i = 0; i < runs; i++) {
        heap_caps_free(heap_caps_malloc(stats.block_size, stats.caps));
    }
    console_u32(reply, "pool_us", (uint32_t)(pool_us - start_us));
    console_u32(reply, "heap_us", (uint32_t)(esp_timer_get_time() - pool_us));
    return ESP_OK;
}

static esp_err_t use(const console_request_t *request, console_reply_t *reply)
{
    uint32_t interrupts = console_arg_u32(request, "interrupts", 0);
    uint32_t runs = console_arg_u32(request, "bench", 0);
    if (interrupts > INTERRUPTS_MAX) {
        return console_bad_argument(reply, "interrupts", console_arg(request, "interrupts"), "at most 1000");
    }
    if (runs > RUNS_MAX) {
        return console_bad_argument(reply, "bench", console_arg(request, "bench"), "at most 10000");
    }
    if (s_pool == NULL) {
        return console_fail(reply, ESP_ERR_INVALID_STATE, "create a pool first");
    }
    if (console_arg(request, "take") != NULL) {
        take(reply, console_arg_u32(request, "take", 0));
    } else if (console_arg(request, "give") != NULL) {
        return give(console_arg_u32(request, "give", 0));
    } else if (console_arg(request, "misuse") != NULL) {
        telemetry_str(console_room(reply, 48), "err_free",
                      esp_err_to_name(misuse(console_arg(request, "misuse"))));
    } else if (interrupts > 0) {
        return interrupt(reply, interrupts);
    } else if (runs > 0) {
        return bench(reply, runs);
    } else if (console_arg(request, "plays") != NULL) {
        if (console_arg(request, "from") == NULL) {
            return console_bad_argument(reply, "from", "", "missing");
        }
        return plays(request, reply);
    }
    return ESP_OK;
}

static esp_err_t mem_pool(const console_request_t *request, console_reply_t *reply)
{
    esp_err_t err = ESP_OK;
    if (console_arg(request, "off") != NULL) {
        remove_all();
    } else if (console_arg(request, "create") != NULL) {
        if (console_arg(request, "caps") == NULL) {
            return console_bad_argument(reply, "caps", "", "missing");
        }
        err = create(request, reply);
    } else if (request->arg_count > 0) {
        err = use(request, reply);
    }
    if (err == ESP_OK) {
        add_pools(reply);
    }
    return err;
}

static const console_command_t COMMANDS[] = {
    {"mem.pool",
     "[create=TEXT] [block=N] [count=N] [caps=CAPS] [heap=1] [take=N] [give=N] "
     "[misuse=double|stale|foreign|inside|null] [interrupts=N] [plays=N] [from=pool|heap] [bench=N] [off=1]",
     mem_pool,
     "the pools; create= one for tests (heap=1: falls back to the heap), take= and give= blocks, misuse it, "
     "use it in interrupts, simulate plays; off=1: delete it"},
};

const console_group_t CMD_POOL = CONSOLE_GROUP(COMMANDS);
