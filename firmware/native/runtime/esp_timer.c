/* esp_timer: alarms wake the task "esp_timer", which runs the callbacks. */
#include "native.h"

#include <string.h>
#include "esp_task.h"
#include "esp_timer.h"

#define MIN_PERIOD_US 50

typedef struct alarm alarm_t;
struct alarm {
    esp_timer_create_args_t args;
    void *block;
    uint64_t alarm_us;  // since the app's start
    uint64_t period_us; // 0: once
    bool active;
    alarm_t *next; // active ones, by time
};

static alarm_t *s_active;
static native_event_t s_event;
static native_wait_list_t s_task_waits;
static bool s_started;

static uint64_t now_us(void)
{
    return native_now_us() - g_native_params.start_us;
}

static void wake_task(native_event_t *event)
{
    (void)event;
    native_wake_one(&s_task_waits);
}

static void rearm(void)
{
    native_event_cancel(&s_event);
    if (s_active != NULL) {
        native_event_arm(&s_event, s_active->alarm_us + g_native_params.start_us);
    }
}

static void insert(alarm_t *timer)
{
    alarm_t **link = &s_active;
    while (*link != NULL && (*link)->alarm_us <= timer->alarm_us) {
        link = &(*link)->next;
    }
    timer->next = *link;
    *link = timer;
    timer->active = true;
    rearm();
}

static void take_out(alarm_t *timer)
{
    alarm_t **link = &s_active;
    while (*link != timer) {
        link = &(*link)->next;
    }
    *link = timer->next;
    timer->active = false;
    rearm();
}

static void timer_task(void *argument)
{
    (void)argument;
    while (true) {
        while (s_active != NULL && s_active->alarm_us <= now_us()) {
            alarm_t *timer = s_active;
            take_out(timer);
            if (timer->period_us > 0) {
                uint64_t late = (now_us() - timer->alarm_us) / timer->period_us;
                bool skip = timer->args.skip_unhandled_events && late > 1;
                timer->alarm_us = skip ? now_us() + timer->period_us : timer->alarm_us + timer->period_us;
                insert(timer);
            }
            timer->args.callback(timer->args.arg); // may delete the timer
        }
        if (s_active == NULL || s_active->alarm_us > now_us()) {
            native_wait(&s_task_waits, NATIVE_WAIT_FOREVER);
        }
    }
}

void native_esp_timer_start(void)
{
    if (s_started) {
        return;
    }
    s_started = true;
    s_event.fire = wake_task;
    native_task_create_system(timer_task, "esp_timer", ESP_TASK_TIMER_STACK, ESP_TASK_TIMER_PRIO, 0);
}

static alarm_t *alarm_of(esp_timer_handle_t handle, const char *function)
{
    return native_object_get(handle, NATIVE_ESP_TIMER, function);
}

esp_err_t esp_timer_create(const esp_timer_create_args_t *create_args, esp_timer_handle_t *out_handle)
{
    if (create_args == NULL || create_args->callback == NULL || out_handle == NULL ||
        create_args->dispatch_method >= ESP_TIMER_MAX) {
        return ESP_ERR_INVALID_ARG;
    }
    native_esp_timer_start();
    void *block = heap_caps_calloc(1, NATIVE_SIZE_ESP_TIMER, NATIVE_KERNEL_CAPS);
    if (block == NULL) {
        return ESP_ERR_NO_MEM;
    }
    alarm_t *timer = native_host_alloc(sizeof *timer);
    timer->args = *create_args;
    timer->block = block;
    native_object_bind(block, NATIVE_ESP_TIMER, timer);
    *out_handle = block;
    return ESP_OK;
}

static esp_err_t start(esp_timer_handle_t handle, uint64_t first_us, uint64_t period_us, const char *function)
{
    if (handle == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    alarm_t *timer = alarm_of(handle, function);
    if (timer->active) {
        return ESP_ERR_INVALID_STATE;
    }
    timer->alarm_us = now_us() + first_us;
    timer->period_us = period_us;
    insert(timer);
    return ESP_OK;
}

esp_err_t esp_timer_start_once(esp_timer_handle_t timer, uint64_t timeout_us)
{
    return start(timer, timeout_us, 0, __func__);
}

esp_err_t esp_timer_start_periodic(esp_timer_handle_t timer, uint64_t period)
{
    period = period < MIN_PERIOD_US ? MIN_PERIOD_US : period;
    return start(timer, period, period, __func__);
}

esp_err_t esp_timer_restart(esp_timer_handle_t timer, uint64_t timeout_us)
{
    if (timer == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    alarm_t *alarm = alarm_of(timer, __func__);
    if (!alarm->active) {
        return ESP_ERR_INVALID_STATE;
    }
    take_out(alarm);
    if (alarm->period_us > 0) {
        timeout_us = timeout_us < MIN_PERIOD_US ? MIN_PERIOD_US : timeout_us;
        return start(timer, timeout_us, timeout_us, __func__);
    }
    return start(timer, timeout_us, 0, __func__);
}

esp_err_t esp_timer_stop(esp_timer_handle_t timer)
{
    if (timer == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    alarm_t *alarm = alarm_of(timer, __func__);
    if (!alarm->active) {
        return ESP_ERR_INVALID_STATE;
    }
    take_out(alarm);
    return ESP_OK;
}

esp_err_t esp_timer_delete(esp_timer_handle_t timer)
{
    if (timer == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    alarm_t *alarm = alarm_of(timer, __func__);
    if (alarm->active) {
        return ESP_ERR_INVALID_STATE;
    }
    native_object_unbind(timer);
    heap_caps_free(timer);
    native_host_free(alarm);
    return ESP_OK;
}

int64_t esp_timer_get_time(void)
{
    native_poll_cost();
    return (int64_t)now_us();
}

int64_t esp_timer_get_next_alarm(void)
{
    return s_active == NULL ? INT64_MAX : (int64_t)s_active->alarm_us;
}

esp_err_t esp_timer_get_period(esp_timer_handle_t timer, uint64_t *period)
{
    if (timer == NULL || period == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    *period = alarm_of(timer, __func__)->period_us;
    return ESP_OK;
}

esp_err_t esp_timer_get_expiry_time(esp_timer_handle_t timer, uint64_t *expiry)
{
    if (timer == NULL || expiry == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    alarm_t *alarm = alarm_of(timer, __func__);
    if (alarm->period_us > 0) {
        return ESP_ERR_NOT_SUPPORTED;
    }
    *expiry = alarm->alarm_us;
    return ESP_OK;
}

bool esp_timer_is_active(esp_timer_handle_t timer)
{
    return timer != NULL && alarm_of(timer, __func__)->active;
}
