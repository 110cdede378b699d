/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * sys.resources: all resources that the firmware holds. sys.fail: makes ESP-IDF calls fail on purpose.
 */
#include <string.h>

#include "audio_driver.h"
#include "boot_fail.h"
#include "camera_controller.h"
#include "console.h"
#include "driver/gpio.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "heap_blocks.h"
#include "heap_fail.h"
#include "heap_hold.h"
#include "idf_calls.h"
#include "memory_manager.h"
#include "memory_pool.h"
#include "sdkconfig.h"
#include "state_manager.h"
#include "step_hook.h"
#include "stt_pipeline.h"
#include "tts_decoder.h"

#define NUMBER_SIZE sizeof("-4294967295,")
#define MEMBER_SIZE 48

static void add_bool(console_reply_t *reply, const char *key, bool value)
{
    telemetry_bool(console_room(reply, MEMBER_SIZE), key, value);
}

static void add_i32(console_reply_t *reply, const char *key, int32_t value)
{
    telemetry_i32(console_room(reply, MEMBER_SIZE), key, value);
}

/** Adds one row per heap: start, used blocks, their bytes, their checksum. */
static void add_heaps(console_reply_t *reply)
{
    static heap_census_t s_census[HEAP_BLOCKS_HEAPS_MAX];
    size_t count = heap_blocks_census(s_census);
    console_array_begin(reply, "heaps");
    for (size_t i = 0; i < count; i++) {
        telemetry_record_t *record = console_room(reply, 4 * NUMBER_SIZE + sizeof("[],"));
        telemetry_array_begin(record, NULL);
        telemetry_u32(record, NULL, s_census[i].heap);
        telemetry_u32(record, NULL, s_census[i].count);
        telemetry_u32(record, NULL, s_census[i].bytes);
        telemetry_u32(record, NULL, s_census[i].sum);
        telemetry_array_end(record);
    }
    console_container_end(reply);
}

static uint32_t pool_blocks(void)
{
    uint32_t blocks = 0;
#if CONFIG_HOTPIN_MEM_POOL
    for (size_t i = 0; i < CONFIG_HOTPIN_MEM_POOLS_MAX; i++) {
        memory_pool_stats_t stats;
        if (memory_pool_get_stats(memory_pool_at(i), &stats) == ESP_OK) {
            blocks += stats.used + stats.heap_used;
        }
    }
#endif
    return blocks;
}

static void add_drivers(console_reply_t *reply)
{
    stt_pipeline_stats_t stt;
    tts_decoder_info_t tts;
    stt_pipeline_get_stats(&stt);
    tts_decoder_get_info(&tts);
    add_bool(reply, "camera", camera_controller_is_initialized());
    add_i32(reply, "camera_power_down", idf_calls_camera_power_down());
    add_bool(reply, "audio", audio_driver_is_initialized());
    add_bool(reply, "stt", stt.running);
    telemetry_str(console_room(reply, MEMBER_SIZE), "stream", tts_decoder_state_name(tts.state));
    bool is_free = state_manager_lock(SYSTEM_STATE_ANY, 0) == ESP_OK;
    if (is_free) {
        state_manager_unlock();
    }
    add_bool(reply, "drivers_free", is_free);
}

static void add_settings(console_reply_t *reply)
{
    memory_monitoring_t monitoring = {0};
    memory_thresholds_t levels = {0};
    state_manager_settle_t settle;
    memory_manager_get_monitoring(&monitoring);
    memory_manager_get_thresholds(&levels);
    state_manager_get_settle(&settle);
    console_u32(reply, "interval_ms", monitoring.running ? monitoring.interval_ms : 0);
    const uint32_t thresholds[] = {
        levels.internal_ram_warning,  levels.internal_ram_critical,  levels.dma_capable_warning,
        levels.dma_capable_critical,  levels.psram_warning,          levels.psram_critical,
        levels.fragmentation_warning, levels.fragmentation_critical,
    };
    console_array_begin(reply, "thresholds");
    for (size_t i = 0; i < ARRAY_SIZE(thresholds); i++) {
        telemetry_u32(console_room(reply, NUMBER_SIZE), NULL, thresholds[i]);
    }
    console_container_end(reply);
    console_u32(reply, "settle_down_ms", settle.down_ms);
    console_u32(reply, "settle_up_ms", settle.up_ms);
}

static void add_own(console_reply_t *reply)
{
    uint32_t holds, bytes;
    heap_hold_total(&holds, &bytes);
    console_u32(reply, "holds", holds);
    console_u32(reply, "held", bytes);
    step_hook_state_t steps = step_hook_get_state();
    console_u32(reply, "armed",
                heap_fail_get_state().armed + steps.armed + steps.crash_armed +
                    (idf_calls_get_state().call != NULL) + boot_fail_armed());
}

static esp_err_t sys_resources(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    state_manager_info_t state = {0};
    state_manager_get(&state);
    telemetry_str(console_room(reply, MEMBER_SIZE), "mode", state_manager_name(state.state));
    add_bool(reply, "busy", state.busy);
    add_heaps(reply);
    console_u32(reply, "pool_blocks", pool_blocks());
    console_u32(reply, "tasks", (uint32_t)uxTaskGetNumberOfTasks());
    for (int what = 0; what < IDF_HELD_; what++) {
        add_i32(reply, idf_calls_held_name(what), idf_calls_held(what));
    }
    add_drivers(reply);
    add_settings(reply);
    add_own(reply);
    return ESP_OK;
}

static esp_err_t gpio_tap(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    idf_pin_t pin;
    console_array_begin(reply, "pins");
    for (uint32_t number = 0; number < GPIO_NUM_MAX; number++) {
        if (idf_calls_pin(number, &pin)) {
            telemetry_record_t *record = console_room(reply, 4 * NUMBER_SIZE + sizeof("[],"));
            telemetry_array_begin(record, NULL);
            telemetry_u32(record, NULL, number);
            telemetry_u32(record, NULL, pin.is_high);
            telemetry_u32(record, NULL, pin.changes);
            telemetry_u32(record, NULL, pin.high_ms);
            telemetry_array_end(record);
        }
    }
    console_container_end(reply);
    return ESP_OK;
}

static idf_frame_t frame_by_name(const char *name)
{
    int frame = IDF_FRAME_NONE;
    while (frame < IDF_FRAMES_SPOILT_ && strcmp(idf_calls_frame_name(frame), name) != 0) {
        frame++;
    }
    return frame;
}

static esp_err_t sys_fail(const console_request_t *request, console_reply_t *reply)
{
    const char *name = console_arg(request, "call");
    if (console_arg(request, "off") != NULL) {
        idf_calls_disarm();
        boot_fail_disarm();
    } else if (name != NULL) {
        uint32_t nth = console_arg_u32(request, "nth", 1);
        if (nth == 0) {
            return console_bad_argument(reply, "nth", "0", "must be at least 1");
        }
        bool (*fail)(const char *, uint32_t, uint32_t) =
            console_arg(request, "boot") != NULL ? boot_fail_call : idf_calls_fail;
        if (!fail(name, nth, console_arg_u32(request, "count", 1))) {
            return console_bad_argument(
                reply, "call", name, "this function cannot be made to fail; sys.fail lists those that can");
        }
        if (console_arg(request, "frame") != NULL) {
            idf_calls_spoil_frames(frame_by_name(console_arg(request, "frame")));
        }
    } else if (request->arg_count > 0) {
        return console_bad_argument(reply, "call", "", "missing");
    } else {
        console_array_begin(reply, "calls");
        for (size_t i = 0; idf_calls_name(i) != NULL; i++) {
            telemetry_str(console_room(reply, MEMBER_SIZE), NULL, idf_calls_name(i));
        }
        console_container_end(reply);
    }
    idf_calls_state_t state = idf_calls_get_state();
    add_bool(reply, "armed", state.call != NULL);
    console_u32(reply, "seen", state.seen);
    console_u32(reply, "failed", state.failed);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"sys.resources", "", sys_resources,
     "resources that the firmware holds: blocks, tasks, queues, drivers, settings"},
    {"gpio.tap", "", gpio_tap,
     "for each pin that was set: number, level, changes, length of the last high pulse in ms"},
    {"sys.fail",
     "[call=TEXT] [nth=N] [count=N] [boot=1] [frame=none|cut|start|end|size|stale|padded] [off=1]", sys_fail,
     "make the n-th call to this ESP-IDF function and the next count - 1 fail (boot=1: in the next boot); "
     "frame=: esp_camera_fb_get returns a frame with this fault; without arguments: list them"},
};

const console_group_t CMD_RESOURCES = CONSOLE_GROUP(COMMANDS);
