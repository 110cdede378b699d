/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Stress test of the state manager: tasks that request modes concurrently, a task that uses the camera,
 * and drivers that fail. Prints "ok: …" or the first error. The argument is the seed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "array_size.h"
#include "audio_chunk.h"
#include "audio_driver.h"
#include "camera_controller.h"
#include "enter_step.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_task_wdt.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/event_groups.h"
#include "freertos/queue.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "state_manager.h"
#include "stt_pipeline.h"
#include "task_end.h"
#include "telemetry.h"
#include "tts_decoder.h"
#include "watch.h"

#define ASKERS 3
#define UNDO_BYTES 16
#define ASKS_EACH 400
#define FOREVER_MS 10000000u

static _Thread_local unsigned s_random;
static pthread_t s_state_task;
static atomic_bool s_faults;
static atomic_int s_camera_up, s_audio_up, s_stt_up, s_busy, s_starts, s_recoveries, s_events;
static atomic_bool s_camera_used;
static atomic_bool s_main_ended, s_started, s_unfreed;
static const char *s_fail_step, *s_fail_undo; /* set at rest only */
static bool s_steps_allocate = true;          /* set at rest only */
static bool s_fail_recovery;                  /* makes the first recovery fail */
static atomic_bool s_stt_is_deaf;             /* makes the next stop of the STT pipeline time out */
static atomic_bool s_stt_is_asked;

static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

static unsigned any(unsigned below)
{
    s_random = s_random * 1103515245 + 12345;
    return (s_random >> 16) % below;
}

/* --- FreeRTOS --- */

#define TICK_US 20 /* host time of a tick */

/* A mutex, a queue of length 1 or an event group. All tasks wait on one condition variable. */
typedef struct QueueDefinition {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t bits; /* mutex: 1 when taken; queue: 1 when full */
    unsigned char item[16];
    unsigned size;
    pthread_t owner;
} fake_object_t;

struct EventGroupDef_t {
    fake_object_t object;
};

/* Never freed, like the kernel objects of the state manager. */
static void *create(void)
{
    struct EventGroupDef_t *group = calloc(1, sizeof(*group));
    pthread_mutex_init(&group->object.mutex, NULL);
    pthread_cond_init(&group->object.changed, NULL);
    return group;
}

/* Waits, with the object's mutex held, until any of `bits` is set (or all are clear). False: timeout. */
static bool wait_for(fake_object_t *object, uint32_t bits, bool set, TickType_t ticks)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)ticks * TICK_US * 1000;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    while (((object->bits & bits) != 0) != set) {
        if (pthread_cond_timedwait(&object->changed, &object->mutex, &until) == ETIMEDOUT) {
            return ((object->bits & bits) != 0) == set;
        }
    }
    return true;
}

static uint32_t change_bits(fake_object_t *object, uint32_t set, uint32_t clear)
{
    pthread_mutex_lock(&object->mutex);
    uint32_t before = object->bits;
    object->bits = (object->bits & ~clear) | set;
    pthread_cond_broadcast(&object->changed);
    pthread_mutex_unlock(&object->mutex);
    return before;
}

QueueHandle_t xQueueCreateMutexStatic(uint8_t type, StaticQueue_t *object)
{
    (void)type, (void)object;
    return create();
}

BaseType_t xQueueSemaphoreTake(QueueHandle_t mutex, TickType_t ticks)
{
    pthread_mutex_lock(&mutex->mutex);
    bool taken = wait_for(mutex, 1, false, ticks);
    if (taken) {
        mutex->bits = 1;
        mutex->owner = pthread_self();
    }
    pthread_mutex_unlock(&mutex->mutex);
    return taken;
}

QueueHandle_t xQueueGenericCreateStatic(UBaseType_t length, UBaseType_t size, uint8_t *storage,
                                        StaticQueue_t *object, uint8_t type)
{
    (void)storage, (void)object, (void)type;
    QueueHandle_t queue = create();
    queue->size = size;
    if (length != 1 || size > sizeof(queue->item)) {
        fail("queue of %u items of %u bytes", length, size);
    }
    return queue;
}

static void give(QueueHandle_t mutex)
{
    if (!mutex->bits || !pthread_equal(mutex->owner, pthread_self())) {
        fail("a task gave a mutex that it does not hold");
    }
    change_bits(mutex, 0, 1);
}

/* Without an item: gives a mutex. With an item: overwrites the item in a queue. */
BaseType_t xQueueGenericSend(QueueHandle_t queue, const void *item, TickType_t ticks, BaseType_t position)
{
    (void)ticks, (void)position;
    if (item == NULL) {
        give(queue);
        return pdPASS;
    }
    pthread_mutex_lock(&queue->mutex);
    memcpy(queue->item, item, queue->size);
    pthread_mutex_unlock(&queue->mutex);
    change_bits(queue, 1, 0);
    return pdPASS;
}

BaseType_t xQueueReceive(QueueHandle_t queue, void *item, TickType_t ticks)
{
    pthread_mutex_lock(&queue->mutex);
    bool got = wait_for(queue, 1, true, ticks);
    if (got) {
        memcpy(item, queue->item, queue->size);
        queue->bits = 0;
    }
    pthread_mutex_unlock(&queue->mutex);
    return got;
}

UBaseType_t uxQueueMessagesWaiting(const QueueHandle_t queue)
{
    pthread_mutex_lock(&queue->mutex);
    UBaseType_t waiting = queue->bits;
    pthread_mutex_unlock(&queue->mutex);
    return waiting;
}

EventGroupHandle_t xEventGroupCreateStatic(StaticEventGroup_t *object)
{
    (void)object;
    return create();
}

EventBits_t xEventGroupSetBits(EventGroupHandle_t group, EventBits_t bits)
{
    return change_bits(&group->object, bits, 0) | bits;
}

EventBits_t xEventGroupClearBits(EventGroupHandle_t group, EventBits_t bits)
{
    return change_bits(&group->object, 0, bits);
}

EventBits_t xEventGroupWaitBits(EventGroupHandle_t group, EventBits_t bits, BaseType_t clear, BaseType_t all,
                                TickType_t ticks)
{
    (void)clear, (void)all;
    pthread_mutex_lock(&group->object.mutex);
    wait_for(&group->object, bits, true, ticks);
    EventBits_t now = group->object.bits;
    pthread_mutex_unlock(&group->object.mutex);
    return now;
}

static void *run_state_task(void *code)
{
    s_random = 4711;
    ((TaskFunction_t)code)(NULL);
    fail("the state task has ended");
    return NULL;
}

BaseType_t xTaskCreatePinnedToCore(TaskFunction_t code, const char *name, uint32_t stack, void *arg,
                                   UBaseType_t priority, TaskHandle_t *out, BaseType_t core)
{
    (void)name, (void)stack, (void)arg, (void)priority, (void)core;
    pthread_create(&s_state_task, NULL, run_state_task, (void *)code);
    *out = (TaskHandle_t)&s_state_task;
    return pdPASS;
}

TaskHandle_t xTaskGetCurrentTaskHandle(void)
{
    static _Thread_local char s_self;
    return (TaskHandle_t)&s_self;
}
void vTaskDelay(TickType_t ticks)
{
    usleep(ticks * TICK_US);
}

char *pcTaskGetName(TaskHandle_t task)
{
    (void)task;
    return "main";
}

esp_err_t task_end_wait(uint32_t timeout_ms)
{
    (void)timeout_ms;
    s_unfreed = false;
    return ESP_OK;
}

esp_err_t task_end_wait_for(const char *name, uint32_t timeout_ms)
{
    if (strcmp(name, "main") != 0 || timeout_ms > WATCH_SLICE_MS) {
        fail("the state task waits %u ms for the end of '%s'", timeout_ms, name);
    }
    usleep(TICK_US);
    return s_main_ended ? ESP_OK : ESP_ERR_TIMEOUT;
}

/* --- ESP-IDF and the other components --- */

esp_err_t esp_task_wdt_add(TaskHandle_t task)
{
    (void)task;
    return ESP_OK;
}

esp_err_t esp_task_wdt_delete(TaskHandle_t task)
{
    (void)task;
    return ESP_OK;
}

esp_err_t esp_task_wdt_reset(void)
{
    return ESP_OK;
}

int64_t esp_timer_get_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000ll + now.tv_nsec / 1000;
}

uint32_t esp_log_timestamp(void)
{
    return 0;
}

void esp_log_write(esp_log_level_t level, const char *tag, const char *format, ...)
{
    (void)level, (void)tag;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(NULL, 0, format, args);
    va_end(args);
}

const char *esp_err_to_name(esp_err_t err)
{
    return err == ESP_OK ? "ESP_OK" : "an error";
}

size_t heap_caps_get_free_size(uint32_t caps)
{
    return caps;
}

size_t heap_caps_get_largest_free_block(uint32_t caps)
{
    return caps;
}

uint32_t memory_manager_get_free_internal(void)
{
    return 1;
}

uint32_t memory_manager_get_free_psram(void)
{
    return 2;
}

esp_err_t memory_manager_log_stats(const char *context)
{
    s_recoveries += strcmp(context, "After Error Recovery") == 0;
    return ESP_OK;
}

/* Failed allocations of the state task: every step and every undo reports one. */
static uint32_t s_failed_bytes;
static bool s_watches;

static uint32_t step_bytes(const char *step)
{
    return 30 + (uint32_t)strlen(step);
}

static void fail_to_allocate(uint32_t bytes)
{
    if (s_watches && s_failed_bytes == 0) {
        s_failed_bytes = bytes;
    }
}

void memory_manager_watch_failures(void)
{
    s_watches = true;
    s_failed_bytes = 0;
}

uint32_t memory_manager_first_failure(void)
{
    s_watches = false;
    return s_failed_bytes;
}

esp_err_t memory_manager_get_delta(const char *state, memory_delta_t *out)
{
    (void)state;
    *out = (memory_delta_t){0};
    return ESP_OK;
}

esp_err_t memory_manager_register_reclaimer(memory_reclaimer_t reclaimer)
{
    (void)reclaimer;
    return ESP_OK;
}

esp_err_t memory_manager_set_baseline(const char *state)
{
    (void)state;
    return ESP_OK;
}

esp_err_t memory_manager_place(uint32_t caps, const size_t sizes[], size_t count, memory_placement_t *out)
{
    (void)caps;
    bool good = !s_faults || any(30) != 0;
    *out = (memory_placement_t){good, good ? count : 0, good ? 0 : (uint32_t)sizes[0], 16};
    return ESP_OK;
}

void telemetry_event_begin(telemetry_record_t *r, char *buf, size_t size, const char *event)
{
    (void)r, (void)buf, (void)size, (void)event;
}
void telemetry_str(telemetry_record_t *r, const char *key, const char *value)
{
    (void)r, (void)key, (void)value;
}
void telemetry_bool(telemetry_record_t *r, const char *key, bool value)
{
    (void)r, (void)key, (void)value;
}
void telemetry_u32(telemetry_record_t *r, const char *key, uint32_t value)
{
    (void)r, (void)key, (void)value;
}
esp_err_t telemetry_send(telemetry_record_t *r)
{
    (void)r;
    state_manager_info_t info;
    state_manager_get(&info);
    if (info.last.err == ESP_OK && s_unfreed) {
        fail("the change to %s mode was announced before the memory of the stopped drivers' tasks was freed",
             state_manager_name(info.last.to));
    }
    s_events++;
    return ESP_OK;
}

esp_err_t state_manager_enter_step(const char *step, bool undo)
{
    const char **name = undo ? &s_fail_undo : &s_fail_step;
    if (!undo && s_fail_recovery && strcmp(step, "recovery") == 0) {
        s_fail_recovery = false;
        return ESP_ERR_NO_MEM;
    }
    if (undo || s_steps_allocate) {
        fail_to_allocate(undo ? UNDO_BYTES : step_bytes(step));
        fail_to_allocate(UNDO_BYTES); /* only the first failure counts */
    }
    if (*name != NULL && strcmp(step, *name) == 0) {
        *name = NULL; /* fail only once, because recovery runs the same steps */
        return ESP_FAIL;
    }
    return s_faults && any(60) == 0 ? ESP_FAIL : ESP_OK;
}

/* Fake drivers. Calls must come one at a time, from the state task, and never start both modes. */

static esp_err_t drive(const char *name, atomic_int *up, int to, bool allowed)
{
    if (!pthread_equal(pthread_self(), s_state_task)) {
        fail("%s called by another task", name);
    }
    if (s_busy++ != 0) {
        fail("%s called while a driver is busy", name);
    }
    if (up != &s_stt_up && s_camera_used) {
        fail("%s called while the camera is locked", name);
    }
    usleep(any(30));
    esp_err_t err = *up == to || !allowed      ? ESP_ERR_INVALID_STATE
                    : s_faults && any(25) == 0 ? ESP_ERR_NO_MEM
                                               : ESP_OK;
    if (err == ESP_OK) {
        *up = to;
        s_starts += to;
    }
    if (s_camera_up && s_audio_up) {
        fail("camera and audio are both running after %s", name);
    }
    s_busy--;
    return err;
}

esp_err_t camera_controller_init(void)
{
    return drive("camera init", &s_camera_up, 1, true);
}
esp_err_t camera_controller_deinit(void)
{
    s_unfreed = true; /* an idle task frees the driver's task if that ran on the other core */
    return drive("camera deinit", &s_camera_up, 0, true);
}
bool camera_controller_is_initialized(void)
{
    return s_camera_up;
}
esp_err_t audio_driver_init(void)
{
    return drive("audio init", &s_audio_up, 1, true);
}
esp_err_t audio_driver_deinit(void)
{
    if (s_stt_up) {
        fail("the audio driver was stopped while the STT pipeline was running");
    }
    return drive("audio deinit", &s_audio_up, 0, true);
}
bool audio_driver_is_initialized(void)
{
    return s_audio_up;
}
esp_err_t stt_pipeline_prepare(void)
{
    return ESP_OK;
}
esp_err_t memory_manager_set_state(const char *state)
{
    (void)state;
    return ESP_OK;
}
esp_err_t audio_chunk_prepare(void)
{
    return ESP_OK;
}
esp_err_t stt_pipeline_start(void)
{
    s_stt_is_asked = false;
    return drive("stt start", &s_stt_up, 1, s_audio_up);
}
esp_err_t stt_pipeline_stop(void)
{
    s_stt_is_asked = true;
    if (s_stt_is_deaf) {
        s_stt_is_deaf = false;
        return ESP_ERR_TIMEOUT;
    }
    esp_err_t err = drive("stt stop", &s_stt_up, 0, true);
    s_stt_is_asked = err != ESP_OK;
    return err;
}
bool stt_pipeline_is_started(void)
{
    return s_stt_up;
}
void stt_pipeline_get_stats(stt_pipeline_stats_t *out)
{
    *out = (stt_pipeline_stats_t){.running = s_stt_up && !s_stt_is_asked};
}

static const size_t *one_block(size_t *count)
{
    static const size_t SIZE = 4080;
    *count = 1;
    return &SIZE;
}
const size_t *camera_controller_blocks(size_t *count)
{
    return one_block(count);
}
const size_t *camera_controller_psram_blocks(size_t *count)
{
    return one_block(count);
}

const size_t *camera_controller_frame_blocks(size_t *count)
{
    return one_block(count);
}
const size_t *audio_driver_blocks(size_t *count)
{
    return one_block(count);
}
const size_t *stt_pipeline_blocks(size_t *count)
{
    return one_block(count);
}
esp_err_t tts_decoder_close(void)
{
    return ESP_OK;
}
void tts_decoder_get_info(tts_decoder_info_t *info)
{
    *info = (tts_decoder_info_t){.state = TTS_DECODER_CLOSED};
}

/* --- The test --- */

static system_state_t any_mode(void)
{
    return any(2) ? SYSTEM_STATE_CAMERA_STANDBY : SYSTEM_STATE_VOICE_ACTIVE;
}

static void *asker(void *seed)
{
    s_random = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < ASKS_EACH; i++) {
        esp_err_t err = state_manager_request(any_mode(), any(3) == 0 ? FOREVER_MS : any(3));
        if (err == ESP_ERR_INVALID_ARG) {
            fail("a valid mode was refused as an invalid argument");
        }
        usleep(any(200));
    }
    return NULL;
}

static void *camera_user(void *done)
{
    s_random = 99;
    while (!*(atomic_bool *)done) {
        if (state_manager_lock(SYSTEM_STATE_CAMERA_STANDBY, any(50)) == ESP_OK) {
            s_camera_used = true;
            for (int i = 0; i < 5; i++) {
                if (!s_camera_up) {
                    fail("the camera was stopped while it was locked");
                }
                usleep(20);
            }
            s_camera_used = false;
            state_manager_unlock();
        }
        usleep(any(300));
    }
    return NULL;
}

static void expect_state(system_state_t state, const char *when)
{
    state_manager_info_t info;
    state_manager_get(&info);
    bool camera = state == SYSTEM_STATE_CAMERA_STANDBY, voice = state == SYSTEM_STATE_VOICE_ACTIVE;
    if (info.state != state || s_camera_up != camera || s_audio_up != voice || s_stt_up != voice) {
        fail("%s: state %s, camera %d, audio %d, stt %d; not %s", when, state_manager_name(info.state),
             s_camera_up, s_audio_up, s_stt_up, state_manager_name(state));
    }
}

static void storm(unsigned seed, bool faults)
{
    pthread_t askers[ASKERS], user;
    atomic_bool done = false;
    s_faults = faults;
    pthread_create(&user, NULL, camera_user, &done);
    for (int i = 0; i < ASKERS; i++) {
        pthread_create(&askers[i], NULL, asker, (void *)(uintptr_t)(seed * 100 + (unsigned)i));
    }
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(askers[i], NULL);
    }
    done = true;
    pthread_join(user, NULL);
    s_faults = false;
    state_manager_info_t info;
    for (int i = 0; i < 20; i++) {
        system_state_t to = any_mode();
        if (state_manager_request(to, FOREVER_MS) != ESP_OK) {
            fail("%s mode was refused after the random requests", state_manager_name(to));
        }
        expect_state(to, "after the storm");
    }
    state_manager_get(&info);
    if (info.busy || (uint32_t)s_events != info.transitions + info.failures) {
        fail("busy %d; %d events for %u transitions and %u failures", info.busy, s_events, info.transitions,
             info.failures);
    }
}

/** Requests arrive faster than modes change: the last must win, and skipped ones must start no drivers. */
static void coalescing(void)
{
    state_manager_request(SYSTEM_STATE_CAMERA_STANDBY, FOREVER_MS);
    int starts = s_starts;
    for (int i = 0; i < 5; i++) {
        if (state_manager_request(SYSTEM_STATE_CAMERA_STANDBY, FOREVER_MS) != ESP_OK) {
            fail("a duplicate request was refused");
        }
    }
    if (s_starts != starts) {
        fail("duplicate requests started %d drivers", s_starts - starts);
    }
    for (int round = 0; round < 50; round++) {
        system_state_t last = SYSTEM_STATE_VOICE_ACTIVE;
        starts = s_starts;
        for (int i = 0; i < 40; i++) {
            last = any_mode();
            state_manager_request(last, 0);
        }
        if (state_manager_request(last, FOREVER_MS) != ESP_OK) {
            fail("the last request was not fulfilled");
        }
        expect_state(last, "after rapid requests");
        if (s_starts - starts > 30) {
            fail("40 requests in a row started %d drivers", s_starts - starts);
        }
    }
}

/** Makes each step fail once (steps are selected by name); the previous mode must be restored each time. */
static void each_step(void)
{
    const system_state_t modes[] = {SYSTEM_STATE_CAMERA_STANDBY, SYSTEM_STATE_VOICE_ACTIVE};
    for (int i = 0; i < 2; i++) {
        system_state_t from = modes[i], to = modes[1 - i];
        state_manager_request(from, FOREVER_MS);
        const char *step;
        size_t steps = 0;
        for (; (step = state_manager_step_name(from, to, steps)) != NULL; steps++) {
            state_manager_info_t info;
            int recoveries = s_recoveries;
            s_fail_step = step;
            esp_err_t err = state_manager_request(to, FOREVER_MS);
            s_fail_step = NULL;
            state_manager_get(&info);
            if (err != ESP_FAIL || info.last.step == NULL || strcmp(info.last.step, step) != 0) {
                fail("step %s was made to fail, but the reported error is %d at %s", step, err,
                     info.last.step);
            }
            expect_state(from, step);
            if ((s_recoveries > recoveries) != (steps >= 2)) {
                fail("%d error recoveries were logged after step %s failed", s_recoveries - recoveries, step);
            }
        }
        if (steps < 6) {
            fail("only %u steps", (unsigned)steps);
        }
    }
}

/** Makes a step and an undo fail: recovery must restore the former mode, whichever drivers are running. */
static void recovering(void)
{
    static const struct {
        system_state_t from, to;
        const char *step, *undo;
    } CASES[] = {
        {SYSTEM_STATE_CAMERA_STANDBY, SYSTEM_STATE_VOICE_ACTIVE, "stt.start",
         "camera.stop"}, /* nothing is running */
        {SYSTEM_STATE_CAMERA_STANDBY, SYSTEM_STATE_VOICE_ACTIVE, "settle.up",
         "stt.start"}, /* voice is running */
        {SYSTEM_STATE_VOICE_ACTIVE, SYSTEM_STATE_CAMERA_STANDBY, "settle.up", "camera.start"},
        {SYSTEM_STATE_VOICE_ACTIVE, SYSTEM_STATE_CAMERA_STANDBY, "camera.start",
         "stt.stop"}, /* voice is half started */
    };
    for (size_t i = 0; i < ARRAY_SIZE(CASES); i++) {
        state_manager_info_t before, after;
        state_manager_request(CASES[i].from, FOREVER_MS);
        state_manager_get(&before);
        int recoveries = s_recoveries;
        s_fail_step = CASES[i].step;
        s_fail_undo = CASES[i].undo;
        esp_err_t err = state_manager_request(CASES[i].to, FOREVER_MS);
        s_fail_step = s_fail_undo = NULL;
        state_manager_get(&after);
        if (err != ESP_FAIL || after.previous != SYSTEM_STATE_ERROR || s_recoveries != recoveries + 1) {
            fail("case %u: %d, previous %s, %d recoveries", (unsigned)i, err,
                 state_manager_name(after.previous), s_recoveries - recoveries);
        }
        expect_state(CASES[i].from, "after recovery");
    }
}

static void expect_error(const char *when, esp_err_t err, esp_err_t wanted, const state_change_t *failed,
                         const char *step, uint32_t missing)
{
    bool named = step != NULL && failed->step != NULL && strcmp(failed->step, step) == 0;
    if (err != wanted || (step == NULL ? failed->step != NULL : !named) || failed->missing != missing) {
        fail("%s: error 0x%x, step %s, %u bytes; not 0x%x, %s, %u", when, err,
             failed->step != NULL ? failed->step : "none", failed->missing, wanted,
             step != NULL ? step : "none", missing);
    }
}

/** The error of a request must name the step that failed first and its block, even if something fails
 * afterwards. */
static void explaining(void)
{
    state_change_t failed;
    state_manager_request(SYSTEM_STATE_CAMERA_STANDBY, FOREVER_MS);
    s_fail_step = "stt.start";
    s_fail_undo = "camera.stop";
    s_fail_recovery = true;
    esp_err_t err = state_manager_change(SYSTEM_STATE_VOICE_ACTIVE, FOREVER_MS, &failed);
    expect_error("a recovery that fails", err, ESP_FAIL, &failed, "stt.start", step_bytes("stt.start"));
    expect_state(SYSTEM_STATE_CAMERA_STANDBY, "after the second attempt");
    if (s_fail_recovery) {
        fail("no recovery has failed");
    }
    s_steps_allocate = false;
    s_fail_step = "settle.up";
    err = state_manager_change(SYSTEM_STATE_VOICE_ACTIVE, FOREVER_MS, &failed);
    s_steps_allocate = true;
    expect_error("an undo without memory", err, ESP_FAIL, &failed, "settle.up", 0);
    state_manager_lock(SYSTEM_STATE_ANY, FOREVER_MS);
    err = state_manager_change(SYSTEM_STATE_VOICE_ACTIVE, 1, &failed);
    expect_error("a change in progress", err, ESP_ERR_TIMEOUT, &failed, NULL, 0);
    state_manager_unlock();
    state_manager_request(SYSTEM_STATE_VOICE_ACTIVE, FOREVER_MS);
}

/** If a stop times out, the task may still end at any time, so voice mode must be restarted. */
static void stopping_a_deaf_task(void)
{
    state_manager_info_t info;
    state_change_t failed;
    state_manager_request(SYSTEM_STATE_VOICE_ACTIVE, FOREVER_MS);
    s_stt_is_deaf = true;
    esp_err_t err = state_manager_change(SYSTEM_STATE_CAMERA_STANDBY, FOREVER_MS, &failed);
    expect_error("a deaf task", err, ESP_ERR_TIMEOUT, &failed, "stt.stop", step_bytes("stt.stop"));
    expect_state(SYSTEM_STATE_VOICE_ACTIVE, "after a stop that timed out");
    state_manager_get(&info);
    if (s_stt_is_asked || info.previous != SYSTEM_STATE_ERROR) {
        fail("the capture task is %s, the previous state was %s", s_stt_is_asked ? "asked to end" : "running",
             state_manager_name(info.previous));
    }
}

static void started(void)
{
    if (!s_main_ended || s_started || !pthread_equal(pthread_self(), s_state_task)) {
        fail("started() is called %s", !s_main_ended ? "while the main task exists"
                                       : s_started   ? "again"
                                                     : "by another task");
    }
    s_started = true;
}

/** started() must be called when the main task has ended, not when the first mode is up. */
static void starting(void)
{
    if (state_manager_request(SYSTEM_STATE_CAMERA_STANDBY, FOREVER_MS) != ESP_OK) {
        fail("the first mode was refused");
    }
    s_main_ended = true;
    state_manager_request(SYSTEM_STATE_VOICE_ACTIVE, FOREVER_MS); /* handled after the first mode */
    if (!s_started) {
        fail("started() has not been called");
    }
}

static void shutting_down(void)
{
    if (state_manager_request(SYSTEM_STATE_SHUTDOWN, FOREVER_MS) != ESP_OK) {
        fail("shutdown refused");
    }
    expect_state(SYSTEM_STATE_SHUTDOWN, "after shutdown");
    state_change_t failed;
    esp_err_t err = state_manager_change(SYSTEM_STATE_VOICE_ACTIVE, FOREVER_MS, &failed);
    expect_error("a mode after shutdown", err, ESP_ERR_INVALID_STATE, &failed, NULL, 0);
    expect_state(SYSTEM_STATE_SHUTDOWN, "after shutdown");
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    s_random = seed;
    if (state_manager_request(SYSTEM_STATE_CAMERA_STANDBY, 0) != ESP_ERR_INVALID_STATE) {
        fail("a request before the start was accepted");
    }
    if (state_manager_start(started) != ESP_OK || state_manager_start(NULL) != ESP_ERR_INVALID_STATE) {
        fail("start");
    }
    expect_state(SYSTEM_STATE_INIT, "at start");
    starting();
    storm(seed, false);
    storm(seed, true);
    coalescing();
    each_step();
    recovering();
    explaining();
    stopping_a_deaf_task();
    shutting_down();
    printf("ok: %d drivers started, %d recoveries, %d events\n", s_starts, s_recoveries, s_events);
    fflush(stdout);
    _exit(0); /* the state task never ends */
}
