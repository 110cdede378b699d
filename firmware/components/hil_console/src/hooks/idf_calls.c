/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The wrappers run wherever the wrapped functions run: in any task, on either core, and before the scheduler
 * starts. They neither allocate, log nor block.
 */
#include "idf_calls.h"

#include <stdatomic.h>
#include <string.h>

#include "array_size.h"
#include "driver/gpio.h"
#include "driver/i2s_std.h"
#include "driver/uart.h"
#include "esp_camera.h"
#include "esp_err.h"
#include "esp_heap_caps.h"
#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "nvs.h"
#include "nvs_flash.h"
#include "sdkconfig.h"

#include "esp_freertos_hooks.h" /* on two cores it does not compile before FreeRTOS.h */

#define IGNORE(...)

/* Numbers of the functions that can be made to fail. */
#define CALL(result_type, name, ...) CALL_##name,
#define COUNTED IGNORE
#define VOID_COUNTED IGNORE
enum {
#include "idf_calls.def"
    CALLS_
};
#undef CALL
#define CALL(result_type, name, ...) #name,
static const char *const NAMES[] = {
#include "idf_calls.def"
};
#undef CALL
#undef COUNTED
#undef VOID_COUNTED

_Static_assert(ARRAY_SIZE(NAMES) == CALLS_, "one name for each call");

#define NONE (-1)

static atomic_int s_held[IDF_HELD_];
static atomic_int s_camera_power_down = -1;

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static atomic_int s_armed = NONE; /* number of the function; s_lock guards the following variables */
static uint32_t s_first;
static uint32_t s_count;
static uint32_t s_seen;
static uint32_t s_failed;

static void held(idf_held_t what, int change)
{
    atomic_fetch_add(&s_held[what], change);
}

typedef struct {
    bool is_high;
    uint32_t changes;
    uint32_t raised_ms;
    uint32_t high_ms;
} pin_t;

static pin_t s_pins[GPIO_NUM_MAX]; /* written by the task that drives the pin */

static void note_change(gpio_num_t pin, bool is_high)
{
    pin_t *known = &s_pins[pin];
    uint32_t now_ms = (uint32_t)pdTICKS_TO_MS(xTaskGetTickCount());
    if (known->changes == 0 || known->is_high != is_high) {
        if (is_high) {
            known->raised_ms = now_ms;
        } else if (known->changes > 0) {
            known->high_ms = now_ms - known->raised_ms;
        }
        known->is_high = is_high;
        known->changes++;
    }
}

bool idf_calls_pin(uint32_t pin, idf_pin_t *out)
{
    if (pin >= GPIO_NUM_MAX || s_pins[pin].changes == 0) {
        return false;
    }
    *out = (idf_pin_t){s_pins[pin].is_high, s_pins[pin].changes, s_pins[pin].high_ms};
    return true;
}

static void note_level(gpio_num_t pin, uint32_t level)
{
    if (pin >= 0 && pin < GPIO_NUM_MAX) {
        note_change(pin, level != 0);
    }
#ifdef CONFIG_HOTPIN_CAMERA_PIN_PWDN
    if (pin == CONFIG_HOTPIN_CAMERA_PIN_PWDN) {
        atomic_store(&s_camera_power_down, level != 0);
    }
#else
    (void)pin;
    (void)level;
#endif
}

static bool must_fail(int call)
{
    if (atomic_load(&s_armed) != call) {
        return false;
    }
    portENTER_CRITICAL_SAFE(&s_lock);
    s_seen++;
    bool fails = s_seen >= s_first && s_seen - s_first < s_count;
    s_failed += fails;
    portEXIT_CRITICAL_SAFE(&s_lock);
    return fails;
}

#define INSTEAD false
#define AFTER true

static volatile idf_frame_t s_frame;

#if !CONFIG_HOTPIN_CAMERA_SIMULATED
#define SHORT_FRAME 16   /* bytes */
#define HEADERS_MAX 1024 /* number of leading bytes that contain the frame header SOF0 */
#define HEIGHT_AT 5      /* offset from SOF0, after length and precision */
#define PADDING 64       /* bytes */
#define BYTES_OF_PIXELS 5

camera_fb_t *__real_esp_camera_fb_get(void);
void __real_esp_camera_fb_return(camera_fb_t *frame);

static void change_height(camera_fb_t *frame)
{
    for (size_t i = 0; i + HEIGHT_AT + 1 < frame->len && i < HEADERS_MAX; i++) {
        if (frame->buf[i] == 0xFF && frame->buf[i + 1] == 0xC0) {
            frame->buf[i + HEIGHT_AT] ^= 1;
            return;
        }
    }
}

/** @return NULL if the driver's buffer has no room for the padding */
static camera_fb_t *pad(camera_fb_t *frame)
{
    size_t size = frame->width * frame->height / BYTES_OF_PIXELS; /* of the driver's buffer for JPEG frames */
    if (frame->len + PADDING > size) {
        held(IDF_FRAMES, -1);
        __real_esp_camera_fb_return(frame);
        return NULL;
    }
    memset(frame->buf + frame->len, 0, PADDING);
    frame->len += PADDING;
    return frame;
}

/** Result of a failing call. For each frame, the driver sets all values that this function changes. */
static camera_fb_t *failed_frame(void)
{
    camera_fb_t *frame = s_frame == IDF_FRAME_NONE ? NULL : __real_esp_camera_fb_get();
    if (frame == NULL) {
        return NULL;
    }
    held(IDF_FRAMES, 1);
    switch (s_frame) {
    case IDF_FRAME_SHORT: frame->len = frame->len < SHORT_FRAME ? frame->len : SHORT_FRAME; break;
    case IDF_FRAME_START: frame->buf[1] = 0; break;
    case IDF_FRAME_END: frame->len = frame->len / 2; break;
    case IDF_FRAME_SIZE: change_height(frame); break;
    case IDF_FRAME_STALE: frame->timestamp = (struct timeval){0}; break;
    case IDF_FRAME_PADDED: return pad(frame);
    default: break;
    }
    return frame;
}
#endif

#define CALL(type, name, parameters, arguments, failure, order, count) \
    type __real_##name parameters;                                     \
    type __wrap_##name parameters;                                     \
    type __wrap_##name parameters                                      \
    {                                                                  \
        bool fails = must_fail(CALL_##name);                           \
        if (fails && order == INSTEAD) {                               \
            return failure;                                            \
        }                                                              \
        type result = __real_##name arguments;                         \
        count;                                                         \
        return fails ? failure : result;                               \
    }
#define COUNTED(type, name, parameters, arguments, count) \
    type __real_##name parameters;                        \
    type __wrap_##name parameters;                        \
    type __wrap_##name parameters                         \
    {                                                     \
        type result = __real_##name arguments;            \
        count;                                            \
        return result;                                    \
    }
#define VOID_COUNTED(name, parameters, arguments, count) \
    void __real_##name parameters;                       \
    void __wrap_##name parameters;                       \
    void __wrap_##name parameters                        \
    {                                                    \
        __real_##name arguments;                         \
        count;                                           \
    }
#include "idf_calls.def"

int32_t idf_calls_held(idf_held_t what)
{
    return atomic_load(&s_held[what]);
}

const char *idf_calls_held_name(idf_held_t what)
{
#define HELD_NAME(id, name) [id] = #name,
    static const char *const HELD_NAMES[] = {IDF_HELD(HELD_NAME)};
    return HELD_NAMES[what];
}

int idf_calls_camera_power_down(void)
{
    return atomic_load(&s_camera_power_down);
}

bool idf_calls_fail(const char *name, uint32_t nth, uint32_t count)
{
    int call = 0;
    while (call < CALLS_ && strcmp(NAMES[call], name) != 0) {
        call++;
    }
    if (call == CALLS_) {
        return false;
    }
    idf_calls_disarm();
    portENTER_CRITICAL(&s_lock);
    s_first = nth;
    s_count = count;
    s_seen = 0;
    s_failed = 0;
    portEXIT_CRITICAL(&s_lock);
    atomic_store(&s_armed, call);
    return true;
}

const char *idf_calls_frame_name(idf_frame_t frame)
{
#define FRAME_NAME(id, name) [id] = #name,
    static const char *const FRAME_NAMES[] = {IDF_FRAMES_SPOILT(FRAME_NAME)};
    return FRAME_NAMES[frame];
}

void idf_calls_spoil_frames(idf_frame_t frame)
{
    s_frame = frame;
}

void idf_calls_disarm(void)
{
    atomic_store(&s_armed, NONE);
    s_frame = IDF_FRAME_NONE;
}

idf_calls_state_t idf_calls_get_state(void)
{
    int armed = atomic_load(&s_armed);
    portENTER_CRITICAL(&s_lock);
    idf_calls_state_t state = {
        .call = armed == NONE ? NULL : NAMES[armed],
        .seen = s_seen,
        .failed = s_failed,
    };
    portEXIT_CRITICAL(&s_lock);
    return state;
}

const char *idf_calls_name(size_t index)
{
    return index < ARRAY_SIZE(NAMES) ? NAMES[index] : NULL;
}
