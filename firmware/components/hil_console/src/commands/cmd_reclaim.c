/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.reclaim: the reclaimers and their uses. For tests: reclaimers that free a real block, and memory
 * requests like a component's.
 */
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_reclaim.h"

#define SLOTS 4
#define NAME_SIZE 16
#define SHOWN_MAX 8
#define ROW_SIZE 200

typedef struct {
    memory_reclaim_t reclaimer;
    char name[NAME_SIZE];
    void *block;     /* freed by the reclaimer; NULL: it has nothing to free */
    bool nested;     /* the reclaimer requests memory itself */
    bool took;       /* result of that request */
    TaskHandle_t by; /* task that last ran it */
    bool used;
} slot_t;

static slot_t s_slots[SLOTS];

static void run_slot(slot_t *slot)
{
    slot->by = xTaskGetCurrentTaskHandle();
    if (slot->nested) {
        slot->took = memory_reclaim_until(slot->reclaimer.caps, NULL, NULL) ||
                     memory_reclaim_unregister(&slot->reclaimer) == ESP_OK;
    }
    heap_caps_free(slot->block);
    slot->block = NULL;
}

#define SLOT_FUNCTION(number)       \
    static void run_##number(void)  \
    {                               \
        run_slot(&s_slots[number]); \
    }
SLOT_FUNCTION(0)
SLOT_FUNCTION(1)
SLOT_FUNCTION(2)
SLOT_FUNCTION(3)
static void (*const RUN[SLOTS])(void) = {run_0, run_1, run_2, run_3};

static memory_reclaim_trigger_t trigger_by_name(const char *name)
{
    int trigger = 0;
    while (name != NULL && trigger < MEMORY_RECLAIM_TRIGGERS_ &&
           strcmp(memory_reclaim_trigger_name(trigger), name) != 0) {
        trigger++;
    }
    return trigger;
}

/** Slot of the reclaimer with this name, or else an empty slot; NULL if all slots are in use. */
static slot_t *slot_for(const char *name)
{
    slot_t *empty = NULL;
    for (slot_t *slot = s_slots; slot < s_slots + SLOTS; slot++) {
        if (slot->used && strcmp(slot->name, name) == 0) {
            return slot;
        }
        empty = empty == NULL && !slot->used ? slot : empty;
    }
    return empty;
}

/** Registers a reclaimer that frees a block of size= bytes; without size= it has nothing to free. If the
 * reclaimer exists already, only replaces its block. */
static esp_err_t add(const console_request_t *request, console_reply_t *reply)
{
    const char *name = console_arg(request, "add");
    slot_t *slot = slot_for(name);
    if (slot == NULL) {
        return console_fail(reply, ESP_ERR_NO_MEM,
                            "all %d slots are in use (remove the reclaimers with mem.reclaim off=1)", SLOTS);
    }
    uint32_t size = console_arg_u32(request, "size", 0);
    uint32_t caps = console_caps(request);
    heap_caps_free(slot->block);
    slot->block = size > 0 ? heap_caps_malloc(size, caps) : NULL;
    if (size > 0 && slot->block == NULL) {
        return console_fail(reply, ESP_ERR_NO_MEM, "no block of %u bytes", (unsigned)size);
    }
    if (slot->used) {
        return ESP_OK;
    }
    slot->nested = console_arg(request, "nested") != NULL;
    snprintf(slot->name, sizeof(slot->name), "%s", name);
    slot->reclaimer = (memory_reclaim_t){
        .name = slot->name,
        .reclaim = RUN[slot - s_slots],
        .caps = caps,
        .cost = (uint16_t)console_arg_u32(request, "cost", 0),
        .from = trigger_by_name(console_arg(request, "from")),
    };
    esp_err_t err = memory_reclaim_register(&slot->reclaimer);
    slot->used = err == ESP_OK;
    if (!slot->used) {
        heap_caps_free(slot->block);
        slot->block = NULL;
        return console_fail(reply, err, "the reclaimer cannot be registered");
    }
    return ESP_OK;
}

static void remove_all(void)
{
    for (slot_t *slot = s_slots; slot < s_slots + SLOTS; slot++) {
        if (slot->used) {
            memory_reclaim_unregister(&slot->reclaimer);
            heap_caps_free(slot->block);
            *slot = (slot_t){0};
        }
    }
}

static const slot_t *slot_of(const char *name)
{
    for (const slot_t *slot = s_slots; slot < s_slots + SLOTS; slot++) {
        if (slot->name == name) {
            return slot;
        }
    }
    return NULL;
}

static void add_rows(console_reply_t *reply)
{
    static memory_reclaim_t s_all[SHOWN_MAX];
    static memory_reclaim_use_t s_uses[MEMORY_RECLAIM_LOG_SIZE];
    size_t count = memory_reclaim_get_all(s_all, SHOWN_MAX);
    console_array_begin(reply, "reclaimers");
    for (size_t i = 0; i < count; i++) {
        const slot_t *slot = slot_of(s_all[i].name);
        telemetry_record_t *record = console_room(reply, ROW_SIZE);
        telemetry_object_begin(record, NULL);
        telemetry_str(record, "name", s_all[i].name);
        telemetry_u32(record, "cost", s_all[i].cost);
        telemetry_str(record, "from", memory_reclaim_trigger_name(s_all[i].from));
        telemetry_u32(record, "runs", s_all[i].runs);
        telemetry_u32(record, "gained", s_all[i].gained);
        telemetry_bool(record, "skipped", s_all[i].idle >= MEMORY_RECLAIM_IDLE_MAX);
        if (slot != NULL && slot->by != NULL) {
            telemetry_str(record, "task", pcTaskGetName(slot->by));
            telemetry_bool(record, "took", slot->took);
        }
        telemetry_object_end(record);
    }
    console_container_end(reply);
    count = memory_reclaim_get_log(s_uses, MEMORY_RECLAIM_LOG_SIZE);
    console_array_begin(reply, "uses");
    for (size_t i = 0; i < count; i++) {
        telemetry_record_t *record = console_room(reply, ROW_SIZE);
        telemetry_object_begin(record, NULL);
        telemetry_str(record, "name", s_uses[i].name);
        telemetry_str(record, "trigger", memory_reclaim_trigger_name(s_uses[i].trigger));
        telemetry_u32(record, "gain", s_uses[i].gain);
        telemetry_u32(record, "timestamp_ms", s_uses[i].timestamp_ms);
        telemetry_object_end(record);
    }
    console_container_end(reply);
    console_u32(reply, "bytes_static", (uint32_t)memory_reclaim_static_size());
}

static esp_err_t mem_reclaim(const console_request_t *request, console_reply_t *reply)
{
    const char *for_size = console_arg(request, "for");
    const char *watch = console_arg(request, "watch");
    esp_err_t err = ESP_OK;
    if (request->arg_count > 0 && console_arg(request, "off") == NULL &&
        console_arg(request, "caps") == NULL) {
        return console_bad_argument(reply, "caps", "", "missing");
    }
    if (console_arg(request, "off") != NULL) {
        remove_all();
    } else if (console_arg(request, "add") != NULL) {
        err = add(request, reply);
    } else if (for_size != NULL) {
        bool available = memory_reclaim_for(console_caps(request), console_arg_u32(request, "for", 0));
        telemetry_bool(console_room(reply, sizeof("\"available\":false,")), "available", available);
    } else if (watch != NULL) {
        err = memory_reclaim_watch(console_caps(request), console_arg_u32(request, "watch", 0));
        if (err != ESP_OK) {
            return console_fail(reply, err, "%d kinds of allocations are already watched",
                                MEMORY_RECLAIM_KINDS_MAX);
        }
    }
    if (err == ESP_OK) {
        add_rows(reply);
    }
    return err;
}

static const console_command_t COMMANDS[] = {
    {"mem.reclaim",
     "[add=TEXT] [size=N] [cost=N] [from=low|critical|failure|refusal|request] [nested=1] [for=N] [watch=N] "
     "[caps=CAPS] [off=1]",
     mem_reclaim,
     "reclaimers and their last uses; add= one that frees a block of size=, request a block of for= bytes, "
     "watch allocations of watch= bytes or more; off=1: remove the added ones"},
};

const console_group_t CMD_RECLAIM = CONSOLE_GROUP(COMMANDS);
