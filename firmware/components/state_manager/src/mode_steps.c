/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mode_steps.h"

#include "array_size.h"
#include "audio_driver.h"
#include "camera_controller.h"
#include "sdkconfig.h"
#include "stt_pipeline.h"
#include "task_end.h"
#include "tts_decoder.h"
#include "watch.h"

/* Written by state_manager_set_settle(); the state task reads a value at its next pause. */
static volatile state_manager_settle_t s_settle = STATE_MANAGER_SETTLE_DEFAULT();

void mode_settle_set(const state_manager_settle_t *settle)
{
    s_settle.down_ms = settle->down_ms;
    s_settle.up_ms = settle->up_ms;
}

void state_manager_get_settle(state_manager_settle_t *out)
{
    out->down_ms = s_settle.down_ms;
    out->up_ms = s_settle.up_ms;
}

/* Pauses, then waits until the idle tasks have freed the memory of the drivers' tasks. */
static void settle(uint32_t ms)
{
    watch_pause(ms);
    task_end_wait(WATCH_SLICE_MS);
    watch_feed();
}

esp_err_t mode_settle_down(void)
{
    settle(s_settle.down_ms);
    return ESP_OK;
}

static esp_err_t settle_up(void)
{
    settle(s_settle.up_ms);
    return ESP_OK;
}

/* Also false after a stop that timed out, because the task may then end at any time. */
static bool stt_runs(void)
{
    stt_pipeline_stats_t stats;
    stt_pipeline_get_stats(&stats);
    return stats.running;
}

/* This step cannot be undone, because it aborts playback. The next call by the stream's owner fails, because
 * no stream is open. */
static esp_err_t stop_tts(void)
{
    tts_decoder_info_t info;
    tts_decoder_get_info(&info);
    return info.state == TTS_DECODER_CLOSED ? ESP_OK : tts_decoder_close();
}

/* If the sensor's bus is stuck, esp32-camera probes 17 addresses for up to a second each, longer than
 * the task watchdog allows. */
static esp_err_t start_camera(void)
{
    watch_suspend();
    esp_err_t err = camera_controller_init();
    watch_resume();
    return err;
}

/* In start order; they stop in reverse. */
static const transition_step_t CAMERA_UP[] = {
    {"camera.start", start_camera, camera_controller_deinit},
};
static const transition_step_t CAMERA_DOWN[] = {
    {"camera.stop", camera_controller_deinit, start_camera},
};
static const transition_step_t VOICE_UP[] = {
    {"audio.start", audio_driver_init, audio_driver_deinit},
    {"stt.start", stt_pipeline_start, stt_pipeline_stop},
};
static const transition_step_t VOICE_DOWN[] = {
    {"tts.stop", stop_tts, NULL},
    {"stt.stop", stt_pipeline_stop, stt_pipeline_start},
    {"audio.stop", audio_driver_deinit, audio_driver_init},
};
/* The undo makes the same pause: it too comes between stopping drivers and starting others. */
static const transition_step_t SETTLE_DOWN = {"settle.down", mode_settle_down, mode_settle_down};
static const transition_step_t SETTLE_UP = {"settle.up", settle_up, NULL};

#define STEPS_OF(table) (table), ARRAY_SIZE(table)

_Static_assert(ARRAY_SIZE(VOICE_DOWN) + ARRAY_SIZE(CAMERA_UP) + 2 <= TRANSITION_STEPS_MAX, "voice to camera");
_Static_assert(ARRAY_SIZE(CAMERA_DOWN) + ARRAY_SIZE(VOICE_UP) + 2 <= TRANSITION_STEPS_MAX, "camera to voice");
_Static_assert(ARRAY_SIZE(VOICE_DOWN) + ARRAY_SIZE(VOICE_UP) + 2 <= TRANSITION_STEPS_MAX, "voice to voice");

static size_t append(transition_step_t *steps, size_t count, const transition_step_t *more, size_t more_count)
{
    for (size_t i = 0; i < more_count; i++) {
        steps[count++] = more[i];
    }
    return count;
}

size_t mode_step_list(system_state_t from, system_state_t to, transition_step_t steps[TRANSITION_STEPS_MAX])
{
    size_t count = 0;
    if (from == SYSTEM_STATE_CAMERA_STANDBY) {
        count = append(steps, count, STEPS_OF(CAMERA_DOWN));
    } else if (from == SYSTEM_STATE_VOICE_ACTIVE) {
        count = append(steps, count, STEPS_OF(VOICE_DOWN));
    }
    if (count > 0) {
        count = append(steps, count, &SETTLE_DOWN, 1);
    }
    size_t down = count;
    if (to == SYSTEM_STATE_CAMERA_STANDBY) {
        count = append(steps, count, STEPS_OF(CAMERA_UP));
    } else if (to == SYSTEM_STATE_VOICE_ACTIVE) {
        count = append(steps, count, STEPS_OF(VOICE_UP));
    }
    if (count > down) {
        count = append(steps, count, &SETTLE_UP, 1);
    }
    return count;
}

bool mode_holds(system_state_t state)
{
    bool camera = state == SYSTEM_STATE_CAMERA_STANDBY;
    bool voice = state == SYSTEM_STATE_VOICE_ACTIVE;
    return camera_controller_is_initialized() == camera && audio_driver_is_initialized() == voice &&
           stt_pipeline_is_started() == voice && stt_runs() == voice;
}

static void note(esp_err_t err, esp_err_t *first)
{
    if (*first == ESP_OK) {
        *first = err;
    }
}

esp_err_t mode_take_down(void)
{
    esp_err_t first = stop_tts();
    if (stt_pipeline_is_started()) {
        watch_feed(); /* each stop may wait seconds for its task */
        note(stt_pipeline_stop(), &first);
    }
    watch_feed();
    if (first == ESP_OK && audio_driver_is_initialized()) { /* otherwise a task may still use audio */
        note(audio_driver_deinit(), &first);
    }
    if (camera_controller_is_initialized()) {
        note(camera_controller_deinit(), &first);
    }
    return first;
}
