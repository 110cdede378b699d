/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.profile: memory in use, by call site or by task. Only with CONFIG_HOTPIN_MEM_PROFILE.
 */
#include <string.h>

#include "console.h"
#include "esp_attr.h"
#include "esp_heap_caps.h"
#include "memory_profile.h"

#define NUMBER_SIZE sizeof("-4294967295,")
#define FRAME_SIZE sizeof("\"0x12345678\",")
#define NAME_SIZE (2 * MEMORY_PROFILE_NAME_SIZE + sizeof("\"\","))
#define ROW_SIZE (2 * NAME_SIZE + 4 * NUMBER_SIZE + MEMORY_PROFILE_FRAMES * FRAME_SIZE + sizeof("[],"))
#define PAIRS_MAX 10000
#define FILL_LEVELS 5 /* 4^5 call sites, more than CONFIG_HOTPIN_MEM_PROFILE_SITES can be */

static const char *const MEMORY_NAMES[] = {"internal", "psram"};

/** Appends bytes, blocks, peak and allocations to the record. If `since` is set, appends the changes since
 * the mark (the last three parameters) instead; the peak is always absolute. */
static void add_use(telemetry_record_t *record, const memory_profile_use_t *use, bool since, int32_t bytes,
                    int32_t blocks, uint32_t allocations)
{
    telemetry_i32(record, NULL, since ? bytes : (int32_t)use->bytes);
    telemetry_i32(record, NULL, since ? blocks : (int32_t)use->blocks);
    telemetry_u32(record, NULL, use->peak);
    telemetry_u32(record, NULL, since ? allocations : use->allocations);
}

static void add_fields(console_reply_t *reply, const char *const *names, size_t count)
{
    console_array_begin(reply, "fields");
    for (size_t i = 0; i < count; i++) {
        telemetry_str(console_room(reply, NAME_SIZE), NULL, names[i]);
    }
    console_container_end(reply);
}

static void add_sites(console_reply_t *reply, bool since)
{
    static const char *const FIELDS[] = {"task", "memory",      "bytes", "blocks",
                                         "peak", "allocations", "frames"};
    add_fields(reply, FIELDS, ARRAY_SIZE(FIELDS));
    console_array_begin(reply, "sites");
    memory_profile_site_t site;
    for (size_t i = 0; memory_profile_get_site(i, &site); i++) {
        /* A site also changes when a block is freed that was allocated before the mark. */
        if (since && site.allocations_since_mark == 0 && site.blocks_since_mark == 0) {
            continue;
        }
        telemetry_record_t *record = console_room(reply, ROW_SIZE);
        telemetry_array_begin(record, NULL);
        telemetry_str(record, NULL, site.task);
        telemetry_str(record, NULL, MEMORY_NAMES[site.memory]);
        add_use(record, &site.use, since, site.bytes_since_mark, site.blocks_since_mark,
                site.allocations_since_mark);
        for (size_t k = 0; k < MEMORY_PROFILE_FRAMES && site.frames[k] != 0; k++) {
            telemetry_hex(record, NULL, site.frames[k]);
        }
        telemetry_array_end(record);
    }
    console_container_end(reply);
}

static void add_tasks(console_reply_t *reply, bool since)
{
    static const char *const FIELDS[] = {"task", "bytes", "blocks", "peak", "allocations"};
    add_fields(reply, FIELDS, ARRAY_SIZE(FIELDS));
    console_array_begin(reply, "tasks");
    memory_profile_task_t task;
    for (size_t i = 0; memory_profile_get_task(i, &task); i++) {
        if (since && task.allocations_since_mark == 0 && task.blocks_since_mark == 0) {
            continue;
        }
        telemetry_record_t *record = console_room(reply, ROW_SIZE);
        telemetry_array_begin(record, NULL);
        telemetry_str(record, NULL, task.task);
        add_use(record, &task.use, since, task.bytes_since_mark, task.blocks_since_mark,
                task.allocations_since_mark);
        telemetry_array_end(record);
    }
    console_container_end(reply);
}

static void add_loss(console_reply_t *reply)
{
    memory_profile_loss_t loss;
    memory_profile_get_loss(&loss);
    console_u32(reply, "lost_internal", loss.bytes[MEMORY_PROFILE_INTERNAL]);
    console_u32(reply, "lost_psram", loss.bytes[MEMORY_PROFILE_PSRAM]);
    console_u32(reply, "lost_blocks",
                loss.blocks[MEMORY_PROFILE_INTERNAL] + loss.blocks[MEMORY_PROFILE_PSRAM]);
    console_u32(reply, "no_slot", loss.no_slot);
    console_u32(reply, "no_site", loss.no_row);
    console_u32(reply, "no_task", loss.no_task);
    console_u32(reply, "unknown_frees", loss.unknown_frees);
    console_u32(reply, "static_bytes", (uint32_t)memory_profile_static_bytes());
    console_u32(reply, "marked_ms", memory_profile_marked_ms());
}

static esp_err_t add_cost(console_reply_t *reply, const console_request_t *request)
{
    uint32_t pairs = console_arg_u32(request, "cost", 0);
    if (pairs == 0 || pairs > PAIRS_MAX) {
        return console_bad_argument(reply, "cost", console_arg(request, "cost"), "must be 1 to 10000");
    }
    memory_profile_cost_t cost;
    esp_err_t err = memory_profile_measure(pairs, &cost);
    if (err == ESP_OK) {
        console_u32(reply, "with_ns", cost.with_ns);
        console_u32(reply, "without_ns", cost.without_ns);
    }
    return err;
}

/** Allocates and frees a block with 4^levels different lists of return addresses. */
static NOINLINE_ATTR void fill_sites(uint32_t levels, volatile uint32_t *calls)
{
    if (levels == 0) {
        heap_caps_free(heap_caps_malloc(1, MALLOC_CAP_DEFAULT));
        return;
    }
    fill_sites(levels - 1, calls);
    fill_sites(levels - 1, calls);
    fill_sites(levels - 1, calls);
    fill_sites(levels - 1, calls);
    (*calls)++; /* keeps the compiler from replacing the last call with a jump */
}

static esp_err_t mem_profile(const console_request_t *request, console_reply_t *reply)
{
    const char *by = console_arg(request, "by");
    bool since = console_arg(request, "since") != NULL;
    if (console_arg(request, "cost") != NULL) {
        return add_cost(reply, request);
    }
    if (console_arg(request, "fill") != NULL) {
        volatile uint32_t calls = 0;
        fill_sites(FILL_LEVELS, &calls);
    } else if (console_arg(request, "mark") != NULL) {
        memory_profile_mark();
    } else if (by != NULL && strcmp(by, "task") == 0) {
        add_tasks(reply, since);
    } else {
        add_sites(reply, since);
    }
    add_loss(reply);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.profile", "[by=site|task] [since=mark] [mark=1] [fill=1] [cost=N]", mem_profile,
     "memory in use, by call site (default) or task; since=mark: changes since mark=1; fill=1: fill the "
     "table of sites; cost=: time N pairs of allocation and free"},
};

const console_group_t CMD_PROFILE = CONSOLE_GROUP(COMMANDS);
