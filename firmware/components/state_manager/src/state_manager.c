/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "state_manager.h"

#include <inttypes.h>
#include <stdio.h>
#include "array_size.h"
#include "audio_chunk.h"
#include "enter_step.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/event_groups.h"
#include "freertos/queue.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "memory_manager.h"
#if CONFIG_HOTPIN_MEM_OPTIMIZE
#include "memory_optimize.h"
#endif
#if CONFIG_HOTPIN_MEM_RECLAIM
#include "memory_reclaim.h"
#endif
#include "mode_admission.h"
#include "mode_steps.h"
#include "sdkconfig.h"
#include "state_logic.h"
#include "stt_pipeline.h"
#include "task_core.h"
#include "task_end.h"
#include "telemetry.h"
#include "tts_decoder.h"
#include "watch.h"

static const char *TAG = "STATE";

#define SETTLED (1 << 0)

/* Steps that come before the steps of the modes. */
#define STEP_LOCK "lock"
#define STEP_RECOVERY "recovery" /* from ERROR only: stops all drivers */
#define STEP_ADMISSION "admission"

typedef struct {
    uint32_t ticket;
    system_state_t to;
} request_t;

static struct {
    SemaphoreHandle_t drivers; /* held by the state task during a change, and by tasks that use a driver */
    SemaphoreHandle_t board;   /* guards the following members; never held while waiting */
    QueueHandle_t mailbox;     /* one request: a later request replaces one that was not started yet */
    EventGroupHandle_t events;
    uint32_t asked;         /* number of the last request */
    uint32_t settled;       /* number of the last request that is done */
    state_change_t outcome; /* result of that request, not of a recovery after it */
    state_manager_info_t info;
    transition_ledger_t ledger;
} s_sm;

/* State task only, once it runs. */
static state_manager_started_t s_started;
static char s_starter[configMAX_TASK_NAME_LEN]; /* name of the task that called state_manager_start() */

/* The change in progress. State task only. */
static struct {
    state_change_t change;
    transition_end_t end;
} s_now;

static TaskHandle_t _Atomic s_changing; /* the state task while it holds the drivers' lock, otherwise NULL */

static void guard(void)
{
    xSemaphoreTake(s_sm.board, portMAX_DELAY);
}

static void unguard(void)
{
    xSemaphoreGive(s_sm.board);
}

static uint32_t now_ms(void)
{
    return (uint32_t)(esp_timer_get_time() / 1000);
}

static system_state_t present_state(void)
{
    return s_sm.info.state; /* no lock: only the state task writes it */
}

static bool is_mode(system_state_t state)
{
    return state == SYSTEM_STATE_CAMERA_STANDBY || state == SYSTEM_STATE_VOICE_ACTIVE;
}

/* --- Result of a change --- */

static void set_state(system_state_t state)
{
    guard();
    if (s_sm.info.state != state) {
        s_sm.info.previous = s_sm.info.state;
        s_sm.info.state = state;
    }
    unguard();
}

static void send_event(void)
{
    static char s_buffer[TELEMETRY_BUFFER_SIZE];
    const state_change_t *change = &s_now.change;
    telemetry_record_t record;
    telemetry_event_begin(&record, s_buffer, sizeof(s_buffer), "mode");
    telemetry_str(&record, "from", state_manager_name(change->from));
    telemetry_str(&record, "to", state_manager_name(change->to));
    telemetry_bool(&record, "ok", change->err == ESP_OK);
    telemetry_u32(&record, "duration_ms", change->duration_ms);
    telemetry_str(&record, "step", change->step);
    if (change->err != ESP_OK) {
        telemetry_str(&record, "err", esp_err_to_name(change->err));
        telemetry_str(&record, "mode", state_manager_name(present_state()));
        telemetry_str(&record, "block", change->block);
        telemetry_u32(&record, "missing", change->missing);
        telemetry_u32(&record, "largest", change->largest);
    }
    telemetry_send(&record);
}

static uint32_t begin_change(system_state_t to)
{
    s_now.change = (state_change_t){.from = present_state(), .to = to};
    s_now.end = TRANSITION_UNDONE;
    memory_manager_set_state(NULL);
    return now_ms();
}

/* Tells the memory manager the mode: samples are compared only with samples of the same mode. */
static void name_state(void)
{
    system_state_t state = present_state();
    memory_manager_set_state(is_mode(state) ? state_manager_name(state) : NULL);
}

/** Finishes a change. Call it after the state is set, so that the state is valid when the event arrives. */
static esp_err_t end_change(uint32_t start_ms)
{
    state_change_t *change = &s_now.change;
    change->duration_ms = now_ms() - start_ms;
    guard();
    if (change->err != ESP_OK) {
        s_sm.info.failures++;
        s_sm.info.failed = *change;
    } else {
        s_sm.info.transitions++;
        s_sm.info.cycles +=
            change->from == SYSTEM_STATE_VOICE_ACTIVE && change->to == SYSTEM_STATE_CAMERA_STANDBY;
    }
    s_sm.info.last = *change;
    unguard();
    name_state();
    send_event();
    if (change->err == ESP_OK) {
        ESP_LOGI(TAG, "%s -> %s in %" PRIu32 " ms", state_manager_name(change->from),
                 state_manager_name(change->to), change->duration_ms);
    }
    return change->err;
}

static esp_err_t fail_at(const char *step, esp_err_t err)
{
    s_now.change.err = err;
    s_now.change.step = step;
    return err;
}

/* --- Steps --- */

static void (*s_on_step)(const char *step, bool undo); /* set before the state task starts */

void state_manager_on_step(void (*on_step)(const char *step, bool undo))
{
    s_on_step = on_step;
}

static esp_err_t enter_step(const char *step, bool undo)
{
    watch_feed();
    if (undo) {
        memory_manager_first_failure(); /* ends the watch: an undo's failure must not hide the step's */
    } else {
        memory_manager_watch_failures();
    }
    ESP_LOGD(TAG, "%s%s", undo ? "undo " : "", step);
    if (s_on_step != NULL) {
        s_on_step(step, undo);
    }
    return state_manager_enter_step(step, undo);
}

static transition_memory_t measure(void)
{
    return (transition_memory_t){
        .internal = memory_manager_get_free_internal(),
        .psram = memory_manager_get_free_psram(),
    };
}

/** Sets s_now: the result, and the failed step. */
static void run_steps(system_state_t from, system_state_t to)
{
    static const transition_env_t ENV = {enter_step, measure};
    static transition_ledger_t s_ledger;
    transition_step_t steps[TRANSITION_STEPS_MAX];
    size_t count = mode_step_list(from, to, steps);

    s_now.end = transition_run(steps, count, &ENV, &s_ledger);
    const transition_entry_t *failure = transition_failure(&s_ledger);
    if (failure != NULL) {
        fail_at(failure->step, failure->err);
        s_now.change.missing = memory_manager_first_failure(); /* drivers do not always return NO_MEM */
        ESP_LOGE(TAG, "Step %s: %s; %s", failure->step, esp_err_to_name(failure->err),
                 s_now.end == TRANSITION_STUCK ? "the steps before it could not be undone" : "undone");
    }
    guard();
    s_sm.ledger = s_ledger;
    unguard();
}

static esp_err_t lock_drivers(void)
{
    uint32_t left_ms = CONFIG_HOTPIN_STATE_LOCK_TIMEOUT_MS;
    esp_err_t err = enter_step(STEP_LOCK, false);
    while (err == ESP_OK) {
        uint32_t slice_ms = left_ms < WATCH_SLICE_MS ? left_ms : WATCH_SLICE_MS;
        if (xSemaphoreTake(s_sm.drivers, pdMS_TO_TICKS(slice_ms)) == pdTRUE) {
            return ESP_OK;
        }
        watch_feed();
        left_ms -= slice_ms;
        err = left_ms > 0 ? ESP_OK : ESP_ERR_TIMEOUT;
    }
    ESP_LOGE(TAG, "Still in %s mode: no lock on its drivers (%s)", state_manager_name(present_state()),
             esp_err_to_name(err));
    return fail_at(STEP_LOCK, err);
}

#if CONFIG_HOTPIN_MEM_RECLAIM
typedef struct {
    system_state_t to;
    mode_shortage_t *shortage;
    esp_err_t err;
} admission_t;

static bool is_admitted(void *context)
{
    admission_t *admission = context;
    admission->err = mode_admit(admission->to, admission->shortage);
    return admission->err != ESP_ERR_NO_MEM;
}

/** Like mode_admit(), but lets the reclaimers free memory before it refuses. */
static esp_err_t admit(system_state_t to, mode_shortage_t *shortage)
{
    admission_t admission = {.to = to, .shortage = shortage};
    if (!is_admitted(&admission)) {
        memory_reclaim_until(shortage->caps, is_admitted, &admission);
    }
    return admission.err;
}
#else
#define admit mode_admit
#endif

static esp_err_t check_admission(system_state_t to)
{
    mode_shortage_t shortage = {0};
    esp_err_t err = enter_step(STEP_ADMISSION, false);
    if (err == ESP_OK) {
        err = admit(to, &shortage);
    }
    if (err == ESP_OK) {
        return ESP_OK;
    }
    s_now.change.block = shortage.block;
    s_now.change.missing = shortage.missing;
    s_now.change.largest = shortage.largest;
    if (shortage.block != NULL) {
        ESP_LOGE(TAG,
                 "No room for %s mode: %s block %u, %" PRIu32
                 " bytes, is missing; the largest free block is %" PRIu32 " of %" PRIu32 " bytes free",
                 state_manager_name(to), shortage.block, (unsigned)shortage.number, shortage.missing,
                 shortage.largest, shortage.free);
    } else {
        ESP_LOGE(TAG, "No admission to %s mode: %s", state_manager_name(to), esp_err_to_name(err));
    }
    return fail_at(STEP_ADMISSION, err);
}

/** Runs the steps from one state to another; undoes them if a step fails. If the undo also fails, the state
 * is ERROR. */
static esp_err_t run_change(system_state_t from, system_state_t to)
{
    run_steps(from, to);
    system_state_t state = s_now.end == TRANSITION_DONE ? to : from;
    if (s_now.end != TRANSITION_STUCK && !mode_holds(state)) {
        ESP_LOGE(TAG, "The running drivers are not those of %s mode", state_manager_name(state));
        s_now.change.err = s_now.change.err == ESP_OK ? ESP_ERR_INVALID_STATE : s_now.change.err;
        s_now.end = TRANSITION_STUCK;
    }
    set_state(s_now.end == TRANSITION_STUCK ? SYSTEM_STATE_ERROR : state);
    if (s_now.end == TRANSITION_UNDONE) {
        memory_manager_log_stats("After Error Recovery");
    }
    return s_now.change.err;
}

static esp_err_t change_state(system_state_t to)
{
    if (check_admission(to) != ESP_OK) {
        return s_now.change.err;
    }
    return run_change(present_state(), to);
}

/* A mode should use the same memory each time: the free memory after its first entry is its baseline. The
 * entry at boot does not count, because the main task's stack is not free yet. */
static void compare_with_first_time(system_state_t state)
{
    const char *name = state_manager_name(state);
    memory_delta_t delta;
    if (s_now.change.from == SYSTEM_STATE_INIT) {
        return;
    }
    esp_err_t err = memory_manager_get_delta(name, &delta);
    if (err == ESP_ERR_NOT_FOUND) {
        memory_manager_set_baseline(name);
    } else if (err == ESP_OK) {
        ESP_LOGI(TAG, "%s mode against its baseline: internal %+" PRId32 ", PSRAM %+" PRId32 " bytes", name,
                 delta.internal, delta.psram);
    }
}

/* Call the following functions with the drivers locked. */

static esp_err_t transition_to_camera_mode(void)
{
    memory_manager_log_stats("Before Camera Transition");
    esp_err_t err = change_state(SYSTEM_STATE_CAMERA_STANDBY);
    if (err == ESP_OK) {
        memory_manager_log_stats("After Camera Transition");
        compare_with_first_time(SYSTEM_STATE_CAMERA_STANDBY);
    }
    return err;
}

static esp_err_t transition_to_voice_mode(void)
{
    memory_manager_log_stats("Before Voice Transition");
    esp_err_t err = change_state(SYSTEM_STATE_VOICE_ACTIVE);
    if (err == ESP_OK) {
        memory_manager_log_stats("After Voice Transition");
        compare_with_first_time(SYSTEM_STATE_VOICE_ACTIVE);
    }
    return err;
}

/** Stops everything, then starts the requested mode. */
static esp_err_t recover_to(system_state_t to)
{
    esp_err_t err = enter_step(STEP_RECOVERY, false);
    if (err == ESP_OK) {
        err = mode_take_down();
    }
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "Cannot stop all drivers: %s", esp_err_to_name(err));
        return fail_at(STEP_RECOVERY, err);
    }
    mode_settle_down();
    if (check_admission(to) != ESP_OK) {
        return s_now.change.err;
    }
    run_steps(SYSTEM_STATE_INIT, to);
    if (s_now.end == TRANSITION_DONE) {
        set_state(to);
        memory_manager_log_stats("After Error Recovery");
    }
    return s_now.change.err;
}

static void recover_by_itself(system_state_t to)
{
    for (int attempt = 1; attempt <= CONFIG_HOTPIN_STATE_RECOVERY_ATTEMPTS; attempt++) {
        watch_pause(CONFIG_HOTPIN_STATE_RECOVERY_DELAY_MS);
        if (uxQueueMessagesWaiting(s_sm.mailbox) > 0) {
            return; /* a new request takes precedence */
        }
        ESP_LOGW(TAG, "Recovery to %s mode, attempt %d", state_manager_name(to), attempt);
        uint32_t start_ms = begin_change(to);
        recover_to(to);
        if (end_change(start_ms) == ESP_OK) {
            return;
        }
    }
    ESP_LOGE(TAG, "Staying in the error state until a mode is requested");
}

static esp_err_t change_locked(system_state_t to)
{
    if (present_state() == SYSTEM_STATE_ERROR) {
        return recover_to(to);
    }
    switch (to) {
    case SYSTEM_STATE_CAMERA_STANDBY: return transition_to_camera_mode();
    case SYSTEM_STATE_VOICE_ACTIVE: return transition_to_voice_mode();
    default: return change_state(to);
    }
}

/** Finishes a change. If it led to the error state, tries to recover. @return the result of the change, not
 * of a recovery after it */
static state_change_t end_and_recover(system_state_t from, uint32_t start_ms)
{
    end_change(start_ms);
    state_change_t change = s_now.change;
    if (from != SYSTEM_STATE_ERROR && present_state() == SYSTEM_STATE_ERROR) {
        recover_by_itself(from);
    }
    return change;
}

static state_change_t change_or_recover(system_state_t to)
{
    system_state_t from = present_state();
    uint32_t start_ms = begin_change(to);
    if (lock_drivers() != ESP_OK) {
        end_change(start_ms);
        return s_now.change;
    }
    s_changing = xTaskGetCurrentTaskHandle();
    change_locked(to);
    state_change_t change = end_and_recover(from, start_ms);
    s_changing = NULL;
    xSemaphoreGive(s_sm.drivers);
    return change;
}

/* --- Requests --- */

static state_change_t deal_with(system_state_t to)
{
    switch (state_decide(present_state(), to)) {
    case STATE_STAY: return (state_change_t){.to = to, .err = ESP_OK};
    case STATE_CHANGE: return change_or_recover(to);
    default: return (state_change_t){.to = to, .err = ESP_ERR_INVALID_STATE};
    }
}

static void settle(const request_t *request, state_change_t outcome)
{
    guard();
    s_sm.settled = request->ticket;
    s_sm.outcome = outcome;
    if (s_sm.settled == s_sm.asked) {
        s_sm.info.busy = false;
        xEventGroupSetBits(s_sm.events, SETTLED);
    }
    unguard();
}

/* --- Automatic optimisation --- */

#if CONFIG_HOTPIN_MEM_OPTIMIZE
/* Call with the drivers locked. Speech capture counts as idle if no task reads the samples. */
static bool are_drivers_idle(void)
{
    tts_decoder_info_t stream;
    tts_decoder_get_info(&stream);
    return stream.state == TTS_DECODER_CLOSED &&
           (present_state() != SYSTEM_STATE_VOICE_ACTIVE || !stt_pipeline_is_read());
}

static bool reserve_drivers(void)
{
    if (!is_mode(present_state()) || uxQueueMessagesWaiting(s_sm.mailbox) > 0 ||
        xSemaphoreTake(s_sm.drivers, 0) != pdTRUE) {
        return false;
    }
    if (!are_drivers_idle()) {
        xSemaphoreGive(s_sm.drivers);
        return false;
    }
    s_changing = xTaskGetCurrentTaskHandle();
    guard();
    s_sm.info.busy = true;
    unguard();
    return true;
}

static void release_drivers(void)
{
    s_changing = NULL;
    xSemaphoreGive(s_sm.drivers);
    guard();
    s_sm.info.busy = s_sm.settled != s_sm.asked;
    unguard();
}

/* Restarts the drivers of the current mode, so that their blocks move together. */
static esp_err_t restart_drivers(void)
{
    system_state_t mode = present_state();
    uint32_t start_ms = begin_change(mode);
    memory_manager_log_stats("Before Driver Restart");
    if (run_change(mode, mode) == ESP_OK) {
        memory_manager_log_stats("After Driver Restart");
    }
    return end_and_recover(mode, start_ms).err;
}

static bool is_other_mode_scattered(void)
{
    system_state_t mode = present_state();
    return is_mode(mode) &&
           mode_is_scattered(mode == SYSTEM_STATE_CAMERA_STANDBY ? SYSTEM_STATE_VOICE_ACTIVE
                                                                 : SYSTEM_STATE_CAMERA_STANDBY);
}

static const memory_optimize_hooks_t OPTIMIZE_HOOKS = {
    .begin = reserve_drivers,
    .restart = restart_drivers,
    .end = release_drivers,
    .is_scattered = is_other_mode_scattered,
};
#endif

/* Calls the callback of state_manager_start() after the first request. */
static void finish_start(void)
{
    state_manager_started_t started = s_started;
    s_started = NULL;
    if (started == NULL) {
        return;
    }
    while (task_end_wait_for(s_starter, WATCH_SLICE_MS) == ESP_ERR_TIMEOUT) {
        watch_feed();
    }
    started();
}

static void state_task(void *arg)
{
    (void)arg;
    watch_begin();
    while (true) {
        request_t request;
        if (xQueueReceive(s_sm.mailbox, &request, pdMS_TO_TICKS(WATCH_SLICE_MS)) == pdTRUE) {
            settle(&request, deal_with(request.to));
            finish_start();
        }
#if CONFIG_HOTPIN_MEM_RECLAIM
        memory_reclaim_run_pending();
#endif
#if CONFIG_HOTPIN_MEM_OPTIMIZE
        memory_optimize_run_pending();
#endif
        watch_feed();
    }
}

static bool is_stream_played(void)
{
    tts_decoder_info_t info;
    tts_decoder_get_info(&info);
    return info.state == TTS_DECODER_ENDED;
}

/* Until it is closed, a stream that has ended still occupies 64 KB of PSRAM and has a task. */
static void reclaim_played_stream(void)
{
    bool is_locked = s_changing == xTaskGetCurrentTaskHandle(); /* the admission check calls this */
    if (!is_locked && state_manager_lock(SYSTEM_STATE_ANY, 0) != ESP_OK) {
        return;
    }
    if (is_stream_played()) {
        tts_decoder_close();
    }
    if (!is_locked) {
        state_manager_unlock();
    }
}

#if CONFIG_HOTPIN_MEM_RECLAIM
static uint32_t played_stream_bytes(void)
{
    return is_stream_played() ? TTS_STREAM_BUFFER_SIZE : 0;
}

/* The reclaimer does not run when a level is entered, because until the stream is closed, its owner can read
 * the result of the playback. */
static esp_err_t register_reclaimer(void)
{
    static memory_reclaim_t s_stream = {
        .name = "played stream",
        .reclaim = reclaim_played_stream,
        .available = played_stream_bytes,
        .caps = MALLOC_CAP_SPIRAM | MALLOC_CAP_INTERNAL,
        .cost = 100,
        .from = MEMORY_RECLAIM_REFUSAL,
    };
    return memory_reclaim_register(&s_stream);
}
#else
static esp_err_t register_reclaimer(void)
{
    return memory_manager_register_reclaimer(reclaim_played_stream);
}
#endif

esp_err_t state_manager_start(state_manager_started_t started)
{
    static StaticSemaphore_t s_drivers, s_board;
    static StaticQueue_t s_mailbox;
    static StaticEventGroup_t s_events;
    static uint8_t s_mail[sizeof(request_t)];
    static TaskHandle_t s_task;
    if (s_task != NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    esp_err_t err = stt_pipeline_prepare();
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "No STT ring of %u bytes: %s", STT_RING_SIZE, esp_err_to_name(err));
    }
    err = audio_chunk_prepare();
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "No audio chunks: %s", esp_err_to_name(err));
    }
    s_sm.drivers = xSemaphoreCreateMutexStatic(&s_drivers);
    s_sm.mailbox = xQueueCreateStatic(1, sizeof(request_t), s_mail, &s_mailbox);
    s_sm.events = xEventGroupCreateStatic(&s_events);
    s_sm.board = xSemaphoreCreateMutexStatic(&s_board);
    s_started = started;
    snprintf(s_starter, sizeof(s_starter), "%s", pcTaskGetName(NULL));
    /* Pinned to one core: ESP-IDF keeps 20 bytes for each interrupt and core that was ever used, so starting
     * a driver on changing cores would take more memory each time. */
    BaseType_t made = xTaskCreatePinnedToCore(state_task, "state", CONFIG_HOTPIN_STATE_TASK_STACK, NULL,
                                              CONFIG_HOTPIN_STATE_TASK_PRIORITY, &s_task, TASK_CORE_DRIVERS);
    if (made != pdPASS) {
        s_sm.board = NULL;
        return ESP_ERR_NO_MEM;
    }
    if (register_reclaimer() != ESP_OK) {
        ESP_LOGW(TAG, "No slot for the reclaimer of played streams");
    }
#if CONFIG_HOTPIN_MEM_OPTIMIZE
    err = memory_optimize_start(&OPTIMIZE_HOOKS);
    if (err != ESP_OK) {
        ESP_LOGW(TAG, "No automatic optimisation: %s", esp_err_to_name(err));
    }
#endif
    return ESP_OK;
}

/* Result of a request that is done or superseded. Call with the guard held. */
static esp_err_t verdict(system_state_t to, state_change_t *failed)
{
    if (s_sm.info.state == to) {
        return ESP_OK;
    }
    if (s_sm.outcome.to != to || s_sm.outcome.err == ESP_OK) {
        return ESP_ERR_INVALID_STATE;
    }
    *failed = s_sm.outcome;
    return failed->err;
}

esp_err_t state_manager_change(system_state_t to, uint32_t wait_ms, state_change_t *failed)
{
    *failed = (state_change_t){.to = to};
    if (!state_can_be_asked(to)) {
        return ESP_ERR_INVALID_ARG;
    }
    if (s_sm.board == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    guard();
    request_t request = {.ticket = ++s_sm.asked, .to = to};
    s_sm.info.busy = true;
    xEventGroupClearBits(s_sm.events, SETTLED);
    xQueueOverwrite(s_sm.mailbox, &request);
    unguard();
    if (wait_ms == 0) {
        return ESP_OK;
    }
    if (!(xEventGroupWaitBits(s_sm.events, SETTLED, pdFALSE, pdTRUE, pdMS_TO_TICKS(wait_ms)) & SETTLED)) {
        return ESP_ERR_TIMEOUT;
    }
    guard();
    esp_err_t err = verdict(to, failed);
    unguard();
    return err;
}

esp_err_t state_manager_request(system_state_t to, uint32_t wait_ms)
{
    state_change_t failed;
    return state_manager_change(to, wait_ms, &failed);
}

/* --- Queries --- */

esp_err_t state_manager_get(state_manager_info_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (s_sm.board == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    guard();
    *out = s_sm.info;
    unguard();
    return ESP_OK;
}

esp_err_t state_manager_get_ledger(transition_ledger_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (s_sm.board == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    guard();
    *out = s_sm.ledger;
    unguard();
    return ESP_OK;
}

const char *state_manager_step_name(system_state_t from, system_state_t to, size_t index)
{
    const char *const first[] = {STEP_LOCK, STEP_RECOVERY, STEP_ADMISSION};
    const size_t first_count = ARRAY_SIZE(first);
    transition_step_t steps[TRANSITION_STEPS_MAX];
    if (state_decide(from, to) != STATE_CHANGE) {
        return NULL;
    }
    if (from != SYSTEM_STATE_ERROR && index > 0) {
        index++; /* skip STEP_RECOVERY */
    }
    if (index < first_count) {
        return first[index];
    }
    return index - first_count < mode_step_list(from, to, steps) ? steps[index - first_count].name : NULL;
}

esp_err_t state_manager_lock(system_state_t state, uint32_t timeout_ms)
{
    if (s_sm.board == NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    if (xSemaphoreTake(s_sm.drivers, pdMS_TO_TICKS(timeout_ms)) != pdTRUE) {
        return ESP_ERR_TIMEOUT;
    }
    if (state != SYSTEM_STATE_ANY && present_state() != state) {
        xSemaphoreGive(s_sm.drivers);
        return ESP_ERR_INVALID_STATE;
    }
    return ESP_OK;
}

void state_manager_unlock(void)
{
    xSemaphoreGive(s_sm.drivers);
}

esp_err_t state_manager_set_settle(const state_manager_settle_t *settle)
{
    const state_manager_settle_t defaults = STATE_MANAGER_SETTLE_DEFAULT();
    const state_manager_settle_t *wanted = settle != NULL ? settle : &defaults;
    if (wanted->down_ms > STATE_MANAGER_SETTLE_MAX_MS || wanted->up_ms > STATE_MANAGER_SETTLE_MAX_MS) {
        return ESP_ERR_INVALID_ARG;
    }
    mode_settle_set(wanted);
    return ESP_OK;
}
