/* FreeRTOS timers: commands go to the task "Tmr Svc", which runs the callbacks. */
#include "native.h"

#include <string.h>
#include "freertos/timers.h"

typedef struct timer_object timer_object_t;
struct timer_object {
    const char *name;
    TimerHandle_t handle;
    TickType_t period;
    TickType_t expiry;
    bool reload;
    bool active;
    bool is_static;
    void *id;
    TimerCallbackFunction_t callback;
    timer_object_t *next; // active ones
};

typedef struct {
    BaseType_t id;
    TickType_t value;
    timer_object_t *timer;
    PendedFunction_t function;
    void *parameter1;
    uint32_t parameter2;
} command_t;

static timer_object_t *s_active;
static command_t s_commands[configTIMER_QUEUE_LENGTH];
static size_t s_first;
static size_t s_count;
static native_wait_list_t s_daemon_waits;
static TaskHandle_t s_daemon;

static timer_object_t *timer_of(TimerHandle_t handle, const char *function)
{
    return native_object_get(handle, NATIVE_TIMER, function);
}

static void deactivate(timer_object_t *timer)
{
    if (!timer->active) {
        return;
    }
    timer_object_t **link = &s_active;
    while (*link != timer) {
        link = &(*link)->next;
    }
    *link = timer->next;
    timer->active = false;
}

static void activate(timer_object_t *timer, TickType_t expiry)
{
    deactivate(timer);
    timer->expiry = expiry;
    timer->active = true;
    timer->next = s_active;
    s_active = timer;
}

static bool reached(TickType_t expiry, TickType_t now)
{
    return (int32_t)(now - expiry) >= 0;
}

/* The active timer that comes first; equals in order of their start. */
static timer_object_t *earliest(void)
{
    timer_object_t *first = NULL;
    for (timer_object_t *timer = s_active; timer != NULL; timer = timer->next) {
        if (first == NULL || (int32_t)(timer->expiry - first->expiry) <= 0) {
            first = timer;
        }
    }
    return first;
}

static void obey(const command_t *command)
{
    timer_object_t *timer = command->timer;
    switch (command->id) {
    case tmrCOMMAND_EXECUTE_CALLBACK: command->function(command->parameter1, command->parameter2); break;
    case tmrCOMMAND_START:
    case tmrCOMMAND_RESET: activate(timer, command->value + timer->period); break;
    case tmrCOMMAND_STOP: deactivate(timer); break;
    case tmrCOMMAND_CHANGE_PERIOD:
        timer->period = command->value;
        activate(timer, xTaskGetTickCountFromISR() + timer->period);
        break;
    case tmrCOMMAND_DELETE:
        deactivate(timer);
        native_object_unbind(timer->handle);
        if (!timer->is_static) {
            heap_caps_free(timer->handle);
        }
        native_host_free(timer);
        break;
    default: break;
    }
}

static void run_expired(void)
{
    timer_object_t *timer;
    while ((timer = earliest()) != NULL && reached(timer->expiry, xTaskGetTickCountFromISR())) {
        if (timer->reload) {
            activate(timer, timer->expiry + timer->period);
        } else {
            deactivate(timer);
        }
        timer->callback(timer->handle);
    }
}

static void daemon_task(void *argument)
{
    (void)argument;
    while (true) {
        run_expired();
        if (s_count > 0) {
            command_t command = s_commands[s_first];
            s_first = (s_first + 1) % configTIMER_QUEUE_LENGTH;
            s_count--;
            obey(&command);
            continue;
        }
        timer_object_t *next = earliest();
        native_wait(&s_daemon_waits, next == NULL
                                         ? NATIVE_WAIT_FOREVER
                                         : native_deadline(next->expiry - xTaskGetTickCountFromISR()));
    }
}

void native_timers_start(void)
{
    if (s_daemon != NULL) {
        return;
    }
    s_daemon = native_task_create_system(daemon_task, configTIMER_SERVICE_TASK_NAME,
                                         CONFIG_FREERTOS_TIMER_TASK_STACK_DEPTH, configTIMER_TASK_PRIORITY,
                                         tskNO_AFFINITY);
}

static TimerHandle_t create(void *block, const char *name, TickType_t period, bool reload, void *id,
                            TimerCallbackFunction_t callback, bool is_static)
{
    assert(period > 0);
    native_timers_start();
    timer_object_t *timer = native_host_alloc(sizeof *timer);
    *timer = (timer_object_t){
        .name = name,
        .handle = block,
        .period = period,
        .reload = reload,
        .id = id,
        .callback = callback,
        .is_static = is_static,
    };
    native_object_bind(block, NATIVE_TIMER, timer);
    return block;
}

TimerHandle_t xTimerCreate(const char *const pcTimerName, const TickType_t xTimerPeriodInTicks,
                           const BaseType_t xAutoReload, void *const pvTimerID,
                           TimerCallbackFunction_t pxCallbackFunction)
{
    void *block = heap_caps_malloc(NATIVE_SIZE_TIMER, NATIVE_KERNEL_CAPS);
    return block == NULL ? NULL
                         : create(block, pcTimerName, xTimerPeriodInTicks, xAutoReload != pdFALSE, pvTimerID,
                                  pxCallbackFunction, false);
}

TimerHandle_t xTimerCreateStatic(const char *const pcTimerName, const TickType_t xTimerPeriodInTicks,
                                 const BaseType_t xAutoReload, void *const pvTimerID,
                                 TimerCallbackFunction_t pxCallbackFunction, StaticTimer_t *pxTimerBuffer)
{
    assert(pxTimerBuffer != NULL);
    return create(pxTimerBuffer, pcTimerName, xTimerPeriodInTicks, xAutoReload != pdFALSE, pvTimerID,
                  pxCallbackFunction, true);
}

/* The queue's room is not waited for: a full queue fails at once. */
static BaseType_t command(const command_t *command)
{
    if (s_count == configTIMER_QUEUE_LENGTH) {
        return pdFAIL;
    }
    s_commands[(s_first + s_count) % configTIMER_QUEUE_LENGTH] = *command;
    s_count++;
    native_wake_one(&s_daemon_waits);
    native_preempt();
    return pdPASS;
}

BaseType_t xTimerGenericCommand(TimerHandle_t xTimer, const BaseType_t xCommandID,
                                const TickType_t xOptionalValue, BaseType_t *const pxHigherPriorityTaskWoken,
                                const TickType_t xTicksToWait)
{
    (void)pxHigherPriorityTaskWoken;
    (void)xTicksToWait;
    return command(
        &(command_t){.id = xCommandID, .value = xOptionalValue, .timer = timer_of(xTimer, __func__)});
}

BaseType_t xTimerPendFunctionCall(PendedFunction_t xFunctionToPend, void *pvParameter1, uint32_t ulParameter2,
                                  TickType_t xTicksToWait)
{
    (void)xTicksToWait;
    return command(&(command_t){
        .id = tmrCOMMAND_EXECUTE_CALLBACK,
        .function = xFunctionToPend,
        .parameter1 = pvParameter1,
        .parameter2 = ulParameter2,
    });
}

void *pvTimerGetTimerID(const TimerHandle_t xTimer)
{
    return timer_of(xTimer, __func__)->id;
}

void vTimerSetTimerID(TimerHandle_t xTimer, void *pvNewID)
{
    timer_of(xTimer, __func__)->id = pvNewID;
}

BaseType_t xTimerIsTimerActive(TimerHandle_t xTimer)
{
    return timer_of(xTimer, __func__)->active;
}

TaskHandle_t xTimerGetTimerDaemonTaskHandle(void)
{
    return s_daemon;
}

const char *pcTimerGetName(TimerHandle_t xTimer)
{
    return timer_of(xTimer, __func__)->name;
}

TickType_t xTimerGetPeriod(TimerHandle_t xTimer)
{
    return timer_of(xTimer, __func__)->period;
}

TickType_t xTimerGetExpiryTime(TimerHandle_t xTimer)
{
    return timer_of(xTimer, __func__)->expiry;
}
