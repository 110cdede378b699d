/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * heap.*: the heaps as heap_caps reports them, without the memory manager; and deliberate allocations.
 */
#include <string.h>

#include "boot_fail.h"
#include "console.h"
#include "console_caps.h"
#include "esp_heap_caps.h"
#include "heap_fail.h"
#include "heap_hold.h"
#include "memory_manager.h"
#include "state_manager.h"
#include "step_hook.h"

#define FIELD_SIZE 48

/* --- Reading --- */

typedef struct {
    uint32_t free;
    uint32_t largest;
    uint32_t minimum;
} direct_read_t;

#define SETS_MAX 4
#define SET_TEXT_SIZE 64

typedef struct {
    char text[SET_TEXT_SIZE];
    uint32_t caps;
    direct_read_t before;
    direct_read_t after;
} probe_set_t;

static direct_read_t read_directly(uint32_t caps)
{
    return (direct_read_t){
        .free = (uint32_t)heap_caps_get_free_size(caps),
        .largest = (uint32_t)heap_caps_get_largest_free_block(caps),
        .minimum = (uint32_t)heap_caps_get_minimum_free_size(caps),
    };
}

static void add_read(telemetry_record_t *record, const direct_read_t *read)
{
    telemetry_u32(record, "free", read->free);
    telemetry_u32(record, "largest", read->largest);
    telemetry_u32(record, "minimum", read->minimum);
}

/** Splits "A,B;C" at the semicolons. @return the number of capability sets; 0 if one of them is invalid */
static size_t split_sets(const char *list, probe_set_t *sets)
{
    size_t count = 0;
    while (count < SETS_MAX) {
        size_t length = strcspn(list, ";");
        probe_set_t *set = &sets[count++];
        if (length >= SET_TEXT_SIZE) {
            return 0;
        }
        memcpy(set->text, list, length);
        set->text[length] = '\0';
        if (!console_caps_parse(set->text, &set->caps)) {
            return 0;
        }
        if (list[length] == '\0') {
            return count;
        }
        list += length + 1;
    }
    return 0;
}

static void add_reads(console_reply_t *reply, const char *name, const probe_set_t *sets, size_t count,
                      bool after)
{
    console_object_begin(reply, name);
    for (size_t i = 0; i < count; i++) {
        telemetry_record_t *record = console_room(reply, SET_TEXT_SIZE + 2 * FIELD_SIZE);
        telemetry_object_begin(record, sets[i].text);
        add_read(record, after ? &sets[i].after : &sets[i].before);
        telemetry_object_end(record);
    }
    console_container_end(reply);
}

/** Reads the heaps before and after the memory manager's statistics. Nothing is sent, logged or allocated in
 * between. */
static esp_err_t probe_around_stats(console_reply_t *reply, probe_set_t *sets, size_t count)
{
    memory_stats_t claim;
    for (size_t i = 0; i < count; i++) {
        sets[i].before = read_directly(sets[i].caps);
    }
    esp_err_t err = memory_manager_get_stats(&claim);
    for (size_t i = 0; i < count; i++) {
        sets[i].after = read_directly(sets[i].caps);
    }
    if (err != ESP_OK) {
        return console_fail(reply, err, "mem.stats failed");
    }
    add_reads(reply, "before", sets, count, false);
    add_reads(reply, "after", sets, count, true);
    console_object_begin(reply, "claim");
#define ADD_STATS_FIELD(field, section, row) console_u32(reply, #field, claim.field);
    MEMORY_STATS_FIELDS(ADD_STATS_FIELD)
#undef ADD_STATS_FIELD
    console_container_end(reply);
    return ESP_OK;
}

static esp_err_t heap_probe(const console_request_t *request, console_reply_t *reply)
{
    static probe_set_t s_sets[SETS_MAX];
    const char *list = console_arg(request, "caps");
    size_t count = split_sets(list, s_sets);
    if (count == 0) {
        return console_bad_argument(reply, "caps", list,
                                    "not a list of 1 to 4 capability sets separated by ';'");
    }
    if (console_arg(request, "around") != NULL) {
        return probe_around_stats(reply, s_sets, count);
    }
    if (count > 1) {
        return console_bad_argument(reply, "caps", list, "several sets only with around=mem.stats");
    }
    direct_read_t read = read_directly(s_sets[0].caps);
    add_read(&reply->record, &read);
    return ESP_OK;
}

#define REGIONS_MAX 12

typedef struct {
    uint32_t start;
    uint32_t end;
    uint32_t caps;
    uint32_t free;
    uint32_t largest;
    uint32_t blocks;
} region_t;

typedef struct {
    region_t regions[REGIONS_MAX];
    size_t count;
    uint32_t cap; /* capability whose heaps are being walked */
} regions_t;

static region_t *region_at(regions_t *regions, intptr_t start)
{
    for (size_t i = 0; i < regions->count; i++) {
        if (regions->regions[i].start == (uint32_t)start) {
            return &regions->regions[i];
        }
    }
    return NULL;
}

/* The walkers run with the heap locked and interrupts off: they only count. */

static bool count_block(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    regions_t *regions = user_data;
    region_t *region = region_at(regions, heap.start);
    if (region == NULL) {
        if (regions->count == REGIONS_MAX) {
            return false;
        }
        region = &regions->regions[regions->count++];
        *region = (region_t){.start = (uint32_t)heap.start, .end = (uint32_t)heap.end};
    }
    region->blocks++;
    if (!block.used) {
        region->free += (uint32_t)block.size;
        region->largest = block.size > region->largest ? (uint32_t)block.size : region->largest;
    }
    return true;
}

static bool mark_cap(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    (void)block;
    regions_t *regions = user_data;
    region_t *region = region_at(regions, heap.start);
    if (region != NULL) {
        region->caps |= regions->cap;
    }
    return false; /* one block is enough: continue with the next heap */
}

static esp_err_t heap_regions(const console_request_t *request, console_reply_t *reply)
{
    static regions_t s_regions;
    (void)request;
    s_regions.count = 0;
    heap_caps_walk_all(count_block, &s_regions);
    for (size_t i = 0; (s_regions.cap = console_caps_bit(i)) != 0; i++) {
        heap_caps_walk(s_regions.cap, mark_cap, &s_regions);
    }
    console_array_begin(reply, "regions");
    for (size_t i = 0; i < s_regions.count; i++) {
        const region_t *region = &s_regions.regions[i];
        char caps[SET_TEXT_SIZE];
        telemetry_record_t *record = console_room(reply, SET_TEXT_SIZE + 120);
        telemetry_object_begin(record, NULL);
        telemetry_u32(record, "start", region->start);
        telemetry_u32(record, "length", region->end - region->start);
        telemetry_str(record, "caps", console_caps_format(region->caps, caps, sizeof(caps)));
        telemetry_u32(record, "free", region->free);
        telemetry_u32(record, "largest", region->largest);
        telemetry_u32(record, "blocks", region->blocks);
        telemetry_object_end(record);
    }
    console_container_end(reply);
    return ESP_OK;
}

/* --- Holding --- */

static esp_err_t add_hold(console_reply_t *reply, unsigned id)
{
    heap_hold_info_t info = {0};
    heap_hold_info(id, &info);
    console_u32(reply, "id", id);
    console_u32(reply, "held", info.bytes);
    console_u32(reply, "blocks", info.blocks);
    console_u32(reply, "free", (uint32_t)heap_caps_get_free_size(info.caps));
    console_u32(reply, "largest", (uint32_t)heap_caps_get_largest_free_block(info.caps));
    return ESP_OK;
}

static esp_err_t no_id_left(console_reply_t *reply)
{
    return console_fail(reply, ESP_ERR_INVALID_STATE,
                        "all %d holds are in use; release one with heap.release", HEAP_HOLD_MAX);
}

/** Refuses EXEC: heap_caps_get_allocated_size() asserts on the address of an EXEC block in D/IRAM. */
static esp_err_t check_holdable(const console_request_t *request, console_reply_t *reply)
{
    if ((console_caps(request) & MALLOC_CAP_EXEC) == 0) {
        return ESP_OK;
    }
    return console_bad_argument(reply, "caps", console_arg(request, "caps"),
                                "EXEC memory can't be held: give caps without EXEC");
}

static esp_err_t heap_hold(const console_request_t *request, console_reply_t *reply)
{
    const char *size = console_arg(request, "size");
    const char *leave = console_arg(request, "leave");
    uint32_t caps = console_caps(request);
    if ((size == NULL) == (leave == NULL)) {
        return console_bad_argument(reply, size == NULL ? "size" : "leave", size == NULL ? "" : leave,
                                    "give either size or leave");
    }
    if (size != NULL && console_arg(request, "block") != NULL) {
        return console_bad_argument(reply, "block", console_arg(request, "block"),
                                    "is allowed only with leave");
    }
    unsigned id;
    esp_err_t err = check_holdable(request, reply);
    if (err != ESP_OK) {
        return err;
    }
    err = size != NULL ? heap_hold_size(caps, console_arg_u32(request, "size", 0), &id)
                       : heap_hold_leave(caps, console_arg_u32(request, "leave", 0),
                                         console_arg_u32(request, "block", 0), &id);
    if (err == ESP_ERR_INVALID_STATE) {
        return no_id_left(reply);
    }
    if (err != ESP_OK) {
        direct_read_t read = read_directly(caps);
        return console_fail(reply, err, "%s bytes requested, %u free, largest block %u",
                            size != NULL ? size : leave, (unsigned)read.free, (unsigned)read.largest);
    }
    return add_hold(reply, id);
}

static esp_err_t heap_resize(const console_request_t *request, console_reply_t *reply)
{
    unsigned id = console_arg_u32(request, "id", 0);
    esp_err_t err = heap_hold_resize(id, console_arg_u32(request, "size", 0));
    if (err == ESP_ERR_NOT_FOUND) {
        return console_fail(reply, err, "no hold of one block has id %u", id);
    }
    if (err != ESP_OK) {
        return console_fail(reply, err, "no block of %s bytes; the hold is unchanged",
                            console_arg(request, "size"));
    }
    return add_hold(reply, id);
}

static esp_err_t heap_split(const console_request_t *request, console_reply_t *reply)
{
    unsigned id;
    uint32_t had;
    esp_err_t err = check_holdable(request, reply);
    if (err != ESP_OK) {
        return err;
    }
    err = heap_hold_split(console_caps(request), console_arg_u32(request, "block", 0),
                          console_arg_u32(request, "count", 0), &id, &had);
    if (err == ESP_ERR_INVALID_STATE) {
        return no_id_left(reply);
    }
    if (err == ESP_ERR_INVALID_SIZE) {
        const char *key = console_arg(request, "count") != NULL ? "count" : "block";
        return console_bad_argument(reply, key, console_arg(request, key),
                                    "more than 4500 blocks: use larger blocks, or give a smaller count");
    }
    if (err != ESP_OK) {
        return console_fail(reply, err, "only %u blocks of %s bytes could be allocated", (unsigned)had,
                            console_arg(request, "block"));
    }
    return add_hold(reply, id);
}

static struct {
    bool on;
    unsigned id; /* hold with the leaked blocks; 0: none yet, or it was released */
    uint32_t caps;
    uint32_t bytes;
    uint32_t (*count)(void); /* number of leak points so far */
    uint32_t upto;           /* leak points up to this number are done */
    uint32_t leaked;
} s_leak;

static esp_err_t heap_release(const console_request_t *request, console_reply_t *reply)
{
    const char *id = console_arg(request, "id");
    bool all = console_arg(request, "all") != NULL;
    if ((id == NULL) != all) {
        return console_bad_argument(reply, "id", id != NULL ? id : "", "give either id or all");
    }
    heap_hold_info_t info;
    uint32_t bytes = 0;
    uint32_t blocks = 0;
    if (all) {
        for (unsigned i = HEAP_HOLD_MAX; i >= 1; i--) {
            if (heap_hold_release(i, &info)) {
                bytes += info.bytes;
                blocks += info.blocks;
            }
        }
    } else if (heap_hold_release(console_arg_u32(request, "id", 0), &info)) {
        bytes = info.bytes;
        blocks = info.blocks;
    } else {
        return console_fail(reply, ESP_ERR_NOT_FOUND, "no hold has id %s", id);
    }
    heap_hold_info_t leaked;
    if (!heap_hold_info(s_leak.id, &leaked)) {
        s_leak.id = 0; /* the hold was released, and another may get its id */
    }
    console_u32(reply, "released", bytes);
    console_u32(reply, "blocks", blocks);
    return ESP_OK;
}

/* --- Failing and leaking --- */

static esp_err_t heap_fail(const console_request_t *request, console_reply_t *reply)
{
    const char *step = console_arg(request, "step");
    if (console_arg(request, "off") != NULL) {
        heap_fail_disarm();
        step_hook_disarm();
        boot_fail_disarm();
    } else if (step != NULL) {
        if (!step_hook_fail(step, console_arg_u32(request, "count", 1))) {
            return console_bad_argument(reply, "step", step,
                                        "not a list of 1 to 4 steps; mode.steps lists the names");
        }
    } else if (console_arg(request, "nth") != NULL) {
        uint32_t nth = console_arg_u32(request, "nth", 0);
        if (nth == 0) {
            return console_bad_argument(reply, "nth", "0", "must be at least 1");
        }
        void (*arm)(uint32_t, uint32_t, uint32_t, uint32_t) =
            console_arg(request, "boot") != NULL ? boot_fail_allocation : heap_fail_arm;
        arm(console_caps(request), nth, console_arg_u32(request, "count", 1),
            console_arg_u32(request, "also", 0));
    } else if (request->arg_count > 0) {
        return console_bad_argument(reply, "nth", "", "missing");
    }
    heap_fail_state_t state = heap_fail_get_state();
    telemetry_bool(console_room(reply, FIELD_SIZE), "armed", state.armed);
    console_u32(reply, "seen", state.seen);
    console_u32(reply, "failed", state.failed);
    step_hook_state_t steps = step_hook_get_state();
    console_u32(reply, "steps_armed", steps.armed);
    console_u32(reply, "steps_failed", steps.failed);
    return ESP_OK;
}

static uint32_t monitor_samples(void)
{
    memory_monitoring_t monitoring;
    return memory_manager_get_monitoring(&monitoring) == ESP_OK ? monitoring.samples : 0;
}

static uint32_t mode_cycles(void)
{
    state_manager_info_t info;
    return state_manager_get(&info) == ESP_OK ? info.cycles : 0;
}

bool cmd_heap_background(void)
{
    if (!s_leak.on) {
        return false;
    }
    for (uint32_t now = s_leak.count(); s_leak.upto < now; s_leak.upto++) {
        if (heap_hold_add(s_leak.caps, s_leak.bytes, &s_leak.id) == ESP_OK) {
            s_leak.leaked++;
        }
    }
    return true;
}

static esp_err_t heap_leak(const console_request_t *request, console_reply_t *reply)
{
    if (console_arg(request, "off") != NULL) {
        s_leak.on = false;
    } else {
        const char *missing = console_arg(request, "caps") == NULL    ? "caps"
                              : console_arg(request, "bytes") == NULL ? "bytes"
                                                                      : NULL;
        if (missing != NULL) {
            return console_bad_argument(reply, missing, "", "missing");
        }
        esp_err_t err = check_holdable(request, reply);
        if (err != ESP_OK) {
            return err;
        }
        s_leak.on = true;
        s_leak.id = 0;
        s_leak.caps = console_caps(request);
        s_leak.bytes = console_arg_u32(request, "bytes", 0);
        const char *every = console_arg(request, "every");
        s_leak.count = every != NULL && strcmp(every, "cycle") == 0 ? mode_cycles : monitor_samples;
        s_leak.upto = s_leak.count();
        s_leak.leaked = 0;
    }
    telemetry_bool(console_room(reply, FIELD_SIZE), "leaking", s_leak.on);
    console_u32(reply, "id", s_leak.id);
    console_u32(reply, "leaked", s_leak.leaked);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"heap.regions", "", heap_regions, "every heap: address range, capabilities, free memory, blocks"},
    {"heap.probe", "caps=TEXT [around=mem.stats]", heap_probe,
     "free, largest block, minimum; around=: before and after mem.stats, for up to 4 sets (A,B;C)"},
    {"heap.hold", "caps=CAPS [size=N] [leave=N] [block=N]", heap_hold,
     "allocate one block, or all but leave= bytes (in blocks of at most block= bytes)"},
    {"heap.resize", "id=N size=N", heap_resize, "change the size of a hold of one block"},
    {"heap.release", "[id=N] [all=1]", heap_release, "free held memory"},
    {"heap.split", "caps=CAPS block=N [count=N]", heap_split,
     "allocate count= blocks (default: all), then free every second one"},
    {"heap.leak", "[caps=CAPS] [bytes=N] [every=cycle|sample] [off=1]", heap_leak,
     "leak a block at each return from voice to camera mode, or at each sample (default)"},
    {"heap.fail", "[caps=CAPS] [nth=N] [count=N] [also=N] [boot=1] [step=TEXT] [off=1]", heap_fail,
     "make the n-th allocation with caps, the next count - 1 and number also= fail (boot=1: in the next "
     "boot); or steps of a mode change"},
};

const console_group_t CMD_HEAP = CONSOLE_GROUP(COMMANDS);
