/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.history: the snapshots of this boot, and the history in flash.
 */
#include "console.h"
#include "console_snapshots.h"
#include "esp_err.h"
#include "memory_history.h"
#include "memory_manager.h"
#include "sdkconfig.h"

#define NUMBER_SIZE sizeof("4294967295,")
#define MEMBER_SIZE 48
#define NAME_SIZE sizeof("\"psram_fragmentation\",")

static esp_err_t add_rtc(const console_request_t *request, console_reply_t *reply)
{
    uint32_t max = console_arg_u32(request, "last", MEMORY_HISTORY_SIZE);
    size_t count = 0;
    esp_err_t err = memory_manager_get_history(g_console_table.snapshots,
                                               max < MEMORY_HISTORY_SIZE ? max : MEMORY_HISTORY_SIZE, &count);
    if (err != ESP_OK) {
        return console_fail(reply, err, "the memory manager is not initialised");
    }
    console_add_snapshots(reply, count);
    return ESP_OK;
}

#if CONFIG_HOTPIN_MEM_HISTORY

/* Numeric columns of a row: X(name, value). */
#define ROW_FIELDS(X)                                                              \
    X("sequence", row->sequence)                                                   \
    X("boot_count", row->boot_count)                                               \
    X("uptime_s", row->uptime_s)                                                   \
    X("internal_free", row->least_free[MEMORY_HISTORY_INTERNAL])                   \
    X("internal_largest", row->least_largest[MEMORY_HISTORY_INTERNAL])             \
    X("internal_fragmentation", row->worst_fragmentation[MEMORY_HISTORY_INTERNAL]) \
    X("dma_free", row->least_free[MEMORY_HISTORY_DMA])                             \
    X("dma_largest", row->least_largest[MEMORY_HISTORY_DMA])                       \
    X("dma_fragmentation", row->worst_fragmentation[MEMORY_HISTORY_DMA])           \
    X("psram_free", row->least_free[MEMORY_HISTORY_PSRAM])                         \
    X("psram_largest", row->least_largest[MEMORY_HISTORY_PSRAM])                   \
    X("psram_fragmentation", row->worst_fragmentation[MEMORY_HISTORY_PSRAM])       \
    X("warnings", row->warnings)                                                   \
    X("failed_allocations", row->failed_allocations)

#define ADD_NAME(name, value) telemetry_str(console_room(reply, NAME_SIZE), NULL, name);
#define ADD_VALUE(name, value) telemetry_u32(record, NULL, value);
#define COUNT_FIELD(name, value) +1
#define ROW_SIZE ((0 ROW_FIELDS(COUNT_FIELD)) * NUMBER_SIZE + 6 * MEMORY_HISTORY_STATE_SIZE + 20)

static const char *const REASONS[] = {
    [MEMORY_HISTORY_REGULAR] = "regular",
    [MEMORY_HISTORY_CRITICAL] = "critical",
    [MEMORY_HISTORY_REQUESTED] = "requested",
};

static void add_row(console_reply_t *reply, const memory_history_row_t *row)
{
    telemetry_record_t *record = console_room(reply, ROW_SIZE);
    telemetry_array_begin(record, NULL);
    ROW_FIELDS(ADD_VALUE)
    telemetry_str(record, NULL, REASONS[row->reason]);
    telemetry_strn(record, NULL, row->state, sizeof(row->state));
    telemetry_array_end(record);
}

static esp_err_t add_rows(uint32_t left, console_reply_t *reply)
{
    uint32_t before = 0;
    size_t count = 0;
    console_array_begin(reply, "fields");
    ROW_FIELDS(ADD_NAME)
    telemetry_str(console_room(reply, NAME_SIZE), NULL, "reason");
    telemetry_str(console_room(reply, NAME_SIZE), NULL, "state");
    console_container_end(reply);
    console_array_begin(reply, "rows");
    do {
        size_t max = left < ARRAY_SIZE(g_console_table.rows) ? left : ARRAY_SIZE(g_console_table.rows);
        count = 0;
        if (max > 0) {
            esp_err_t err = memory_history_get(before, g_console_table.rows, max, &count);
            if (err != ESP_OK) {
                return err;
            }
        }
        for (size_t i = 0; i < count; i++) {
            add_row(reply, &g_console_table.rows[i]);
            before = g_console_table.rows[i].sequence;
        }
        left -= (uint32_t)count;
    } while (count > 0);
    console_container_end(reply);
    return ESP_OK;
}

static esp_err_t change(const console_request_t *request, console_reply_t *reply)
{
    const char *pause = console_arg(request, "pause");
    const char *every = console_arg(request, "every");
    if (every != NULL && memory_history_set_interval(console_arg_u32(request, "every", 0)) != ESP_OK) {
        return console_bad_argument(reply, "every", every, "must be 1 to 4294967 seconds");
    }
    if (pause != NULL) {
        memory_history_pause(pause[1] == 'n');
    }
    esp_err_t err = console_arg(request, "erase") != NULL ? memory_history_erase() : ESP_OK;
    for (uint32_t rows = console_arg_u32(request, "write", 0); rows > 0 && err == ESP_OK; rows--) {
        err = memory_history_write();
    }
    return err;
}

static esp_err_t add_flash(const console_request_t *request, console_reply_t *reply)
{
    memory_history_info_t info;
    esp_err_t err = memory_history_get_info(&info);
    if (err != ESP_OK) {
        return console_fail(reply, err, "the history has not been started");
    }
    /* A reply with rows may be too long for the reply cache. A repeated request would then change the flash
     * twice. */
    bool changes_flash = console_arg(request, "write") != NULL || console_arg(request, "erase") != NULL;
    uint32_t rows = console_arg_u32(request, "last", changes_flash ? 0 : MEMORY_HISTORY_ROWS_MAX);
    if (changes_flash && rows > 0) {
        return console_bad_argument(reply, "last", console_arg(request, "last"),
                                    "read the rows with another request, not with write= or erase=");
    }
    err = change(request, reply);
    if (err == ESP_OK) {
        err = memory_history_get_info(&info);
    }
    if (err != ESP_OK) {
        return err;
    }
    console_u32(reply, "newest", info.newest);
    console_u32(reply, "written", info.written);
    console_u32(reply, "damaged", info.damaged);
    console_u32(reply, "every_s", info.interval_s);
    telemetry_bool(console_room(reply, MEMBER_SIZE), "paused", info.paused);
    telemetry_str(console_room(reply, MEMBER_SIZE), "write_err", esp_err_to_name(info.error));
    console_u32(reply, "bytes_internal", info.bytes_internal);
    console_u32(reply, "stack_size", info.stack_size);
    console_u32(reply, "observe_us", info.observe_us);
    return add_rows(rows, reply);
}

#else

static esp_err_t add_flash(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    return console_fail(reply, ESP_ERR_NOT_SUPPORTED, "this build has no history in flash");
}

#endif

static esp_err_t mem_history(const console_request_t *request, console_reply_t *reply)
{
    const char *store = console_arg(request, "store");
    bool is_flash = store != NULL && store[0] == 'f';
    static const char *const OF_FLASH[] = {"every", "pause", "write", "erase"};
    for (size_t i = 0; i < ARRAY_SIZE(OF_FLASH) && !is_flash; i++) {
        if (console_arg(request, OF_FLASH[i]) != NULL) {
            return console_bad_argument(reply, OF_FLASH[i], console_arg(request, OF_FLASH[i]),
                                        "needs store=flash");
        }
    }
    return is_flash ? add_flash(request, reply) : add_rtc(request, reply);
}

static const console_command_t COMMANDS[] = {
    {"mem.history", "[last=N] [store=rtc|flash] [every=N] [pause=on|off] [write=N] [erase=1]", mem_history,
     "the last snapshots, newest first; store=flash: rows that survive a loss of power, one every N seconds"},
};

const console_group_t CMD_HISTORY = CONSOLE_GROUP(COMMANDS);
