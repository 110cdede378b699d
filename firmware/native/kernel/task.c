/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tasks: each is a pthread, and only the thread with the baton runs. Tasks are scheduled like FreeRTOS does
 * on one core: the highest ready priority runs; equal priorities take turns at each tick, yield and
 * preemption. Tasks pinned to core 1 also run on this core.
 */
#include "kernel/task.h"

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "esp_heap_caps.h"
#include "esp_task.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "heap/heap_caps_native.h"
#include "kernel/clock.h"
#include "kernel/hooks.h"
#include "kernel/object.h"
#include "sdkconfig.h"

#if defined(__SANITIZE_ADDRESS__)
#define HOST_STACK_BYTES (1024 * 1024)
#else
#define HOST_STACK_BYTES (256 * 1024)
#endif
#define HOST_GUARD_BYTES (64 * 1024)

#define NOTIFICATIONS CONFIG_FREERTOS_TASK_NOTIFICATION_ARRAY_ENTRIES
#define LOCAL_POINTERS CONFIG_FREERTOS_THREAD_LOCAL_STORAGE_POINTERS

typedef enum { STATE_READY, STATE_BLOCKED, STATE_SUSPENDED, STATE_DELETED } state_t;
typedef enum { NOTIFY_NONE, NOTIFY_WAITING, NOTIFY_RECEIVED } notify_state_t;

/* How stack and TCB were allocated, and so how they are freed. */
typedef enum { MEMORY_HEAP, MEMORY_STATIC, MEMORY_CAPS } memory_t;

struct native_task {
    char name[configMAX_TASK_NAME_LEN];
    TaskFunction_t code;
    void *argument;
    TaskHandle_t handle;
    void *stack;
    uint32_t stack_size;
    memory_t memory;
    BaseType_t core;
    UBaseType_t number;
    UBaseType_t base_priority;
    UBaseType_t priority;
    UBaseType_t mutexes_held;
    state_t state;
    pthread_t thread;
    bool has_thread;
    bool ended; // deleted by another task; the thread ends when it gets the baton
    sem_t baton;
    uintptr_t guard_start;
    uintptr_t stack_end;       // end of the host stack, which begins above the guard
    native_task_t *next_ready; // next task of the same priority
    native_task_t *next_all;
    native_wait_list_t *waits_in;
    native_task_t *next_waiting;
    native_event_t timeout;
    bool woken;
    uint64_t runtime_us;
    uint32_t notify_value[NOTIFICATIONS];
    notify_state_t notify_state[NOTIFICATIONS];
    void *local[LOCAL_POINTERS];
};

static native_task_t *s_current;
static native_task_t *s_all; // in order of creation
static native_task_t *s_ready[configMAX_PRIORITIES];
static native_task_t *s_zombies; // tasks that deleted themselves; the idle task frees them
static native_task_t *s_idle[configNUMBER_OF_CORES]; // only the first one does the work of an idle task
static UBaseType_t s_task_number;
static UBaseType_t s_task_count;
static bool s_running;
static void (*s_idle_step)(void);
static uint64_t s_scheduler_start_us;
static int s_critical_depth;
static int s_suspend_depth;
static uint64_t s_critical_since_us;

/* --- Ready lists. The running task is always the last of its list, as in FreeRTOS. --- */

static void ready_append(native_task_t *task)
{
    native_task_t **link = &s_ready[task->priority];
    while (*link != NULL && !(*link == s_current && (*link)->next_ready == NULL)) {
        link = &(*link)->next_ready;
    }
    task->next_ready = *link;
    *link = task;
}

static void ready_remove(native_task_t *task)
{
    native_task_t **link = &s_ready[task->priority];
    while (*link != task) {
        link = &(*link)->next_ready;
    }
    *link = task->next_ready;
    task->next_ready = NULL;
}

static native_task_t *ready_top(void)
{
    for (int priority = configMAX_PRIORITIES - 1; priority >= 0; priority--) {
        if (s_ready[priority] != NULL) {
            return s_ready[priority];
        }
    }
    return NULL;
}

static void make_ready(native_task_t *task)
{
    task->state = STATE_READY;
    ready_append(task);
}

/* Returns the task that runs next and moves it to the end of its list. */
static native_task_t *select_next(void)
{
    native_task_t *task = ready_top();
    if (task != NULL && task->next_ready != NULL) {
        ready_remove(task);
        native_task_t **link = &s_ready[task->priority];
        while (*link != NULL) {
            link = &(*link)->next_ready;
        }
        *link = task;
    }
    return task;
}

/* --- Switching --- */

static void await_baton(native_task_t *task)
{
    while (sem_wait(&task->baton) != 0) {
    }
    if (task->ended) {
        g_native_hooks.thread_end();
        pthread_exit(NULL);
    }
}

static void pass_baton(native_task_t *from, native_task_t *to)
{
    if (from != to) {
        sem_post(&to->baton);
        await_baton(from);
    }
}

static void idle_work(void);

/* Makes the next task the running task. Until a task is ready, the calling thread acts as the idle task. */
static native_task_t *run_next(void)
{
    native_task_t *next;
    while ((next = select_next()) == NULL) {
        s_current = s_idle[0];
        idle_work();
        if (ready_top() == NULL) {
            s_idle_step();
        }
    }
    s_current = next;
    return next;
}

/* Runs the next task; returns when the calling task is selected again. */
static void reschedule(void)
{
    native_task_t *self = s_current;
    pass_baton(self, run_next());
}

static bool may_switch(void)
{
    return s_running && !native_in_isr() && !native_in_critical() && s_suspend_depth == 0 &&
           s_current != s_idle[0];
}

void native_preempt(void)
{
    if (!may_switch()) {
        return;
    }
    native_task_t *top = ready_top();
    if (top != NULL && top->priority > s_current->priority) {
        reschedule();
    }
}

void native_yield(void)
{
    if (may_switch()) {
        reschedule();
    }
}

bool native_equal_is_ready(void)
{
    native_task_t *first = s_ready[s_current->priority];
    return may_switch() && first != NULL && (first != s_current || first->next_ready != NULL);
}

void native_account(uint64_t us)
{
    s_current->runtime_us += us;
}

uint64_t native_since_start_us(void)
{
    return native_now_us() - s_scheduler_start_us;
}

/* Also true in the callback of heap_caps_walk(), which holds the heap's spinlock. */
bool native_in_critical(void)
{
    return s_critical_depth > 0 || heap_caps_native_locked();
}

bool native_scheduler_running(void)
{
    return s_running;
}

native_task_t *native_current(void)
{
    return s_current;
}

const char *native_current_name(void)
{
    return s_current == NULL ? "" : s_current->name;
}

bool native_current_is_idle(void)
{
    return s_current == s_idle[0];
}

const char *native_task_name(const native_task_t *task)
{
    return task->name;
}

UBaseType_t native_priority(const native_task_t *task)
{
    return task->priority;
}

TaskHandle_t native_task_handle(const native_task_t *task)
{
    return task == NULL ? NULL : task->handle;
}

bool native_in_stack_guard(uintptr_t address)
{
    return s_current != NULL && s_current->has_thread && address >= s_current->guard_start &&
           address < s_current->guard_start + HOST_GUARD_BYTES;
}

bool native_in_stack(uintptr_t address)
{
    return s_current != NULL && s_current->has_thread &&
           address >= s_current->guard_start + HOST_GUARD_BYTES && address < s_current->stack_end;
}

static native_task_t *task_of(TaskHandle_t handle, const char *function)
{
    return handle == NULL ? s_current : native_object_get(handle, NATIVE_TASK, function);
}

native_task_t *native_task_from_handle(TaskHandle_t handle)
{
    return task_of(handle, __func__);
}

/* --- Waiting --- */

static void wait_list_add(native_wait_list_t *list, native_task_t *task)
{
    native_task_t **link = &list->head;
    while (*link != NULL && (*link)->priority >= task->priority) {
        link = &(*link)->next_waiting;
    }
    task->next_waiting = *link;
    *link = task;
    task->waits_in = list;
}

static void wait_list_remove(native_task_t *task)
{
    if (task->waits_in == NULL) {
        return;
    }
    native_task_t **link = &task->waits_in->head;
    while (*link != task) {
        link = &(*link)->next_waiting;
    }
    *link = task->next_waiting;
    task->waits_in = NULL;
}

static void end_wait(native_task_t *task, bool woken)
{
    wait_list_remove(task);
    native_event_cancel(&task->timeout);
    task->woken = woken;
    make_ready(task);
}

static void timed_out(native_event_t *event)
{
    end_wait(event->context, false);
}

bool native_wait(native_wait_list_t *list, uint64_t deadline_us)
{
    if (native_in_isr() || native_in_critical() || s_current == s_idle[0]) {
        g_native_hooks.panic(
            "assert failed: blocking call in an interrupt, a critical section or an idle hook");
    }
    if (s_suspend_depth > 0) {
        g_native_hooks.panic("assert failed: blocking call with the scheduler suspended");
    }
    native_task_t *self = s_current;
    ready_remove(self);
    self->state = STATE_BLOCKED;
    self->woken = false;
    if (list != NULL) {
        wait_list_add(list, self);
    }
    if (deadline_us != NATIVE_WAIT_FOREVER) {
        native_event_arm(&self->timeout, deadline_us);
    }
    reschedule();
    return self->woken;
}

bool native_wake_one(native_wait_list_t *list)
{
    if (list->head == NULL) {
        return false;
    }
    end_wait(list->head, true);
    return true;
}

static TickType_t ticks_now(void)
{
    return s_running ? (TickType_t)(native_since_start_us() / NATIVE_TICK_US) : 0;
}

uint64_t native_deadline(TickType_t ticks)
{
    if (ticks == portMAX_DELAY) {
        return NATIVE_WAIT_FOREVER;
    }
    uint64_t now_ticks = native_since_start_us() / NATIVE_TICK_US;
    return s_scheduler_start_us + (now_ticks + ticks) * NATIVE_TICK_US;
}

/* --- Priorities --- */

/* Moves a task between the lists that are ordered by priority. */
static void set_priority(native_task_t *task, UBaseType_t priority)
{
    if (task->priority == priority) {
        return;
    }
    if (task->state == STATE_READY) {
        ready_remove(task);
        task->priority = priority;
        ready_append(task);
    } else if (task->waits_in != NULL) {
        native_wait_list_t *list = task->waits_in;
        wait_list_remove(task);
        task->priority = priority;
        wait_list_add(list, task);
    } else {
        task->priority = priority;
    }
}

void native_inherit(native_task_t *holder, UBaseType_t priority)
{
    if (holder != NULL && holder->priority < priority) {
        set_priority(holder, priority);
    }
}

void native_disinherit(native_task_t *holder)
{
    if (holder->mutexes_held == 0) {
        set_priority(holder, holder->base_priority);
    }
}

void native_disinherit_to(native_task_t *holder, UBaseType_t highest_waiting)
{
    if (holder->mutexes_held == 1) { // with more, a task that waits for another of them may lend its priority
        set_priority(holder,
                     highest_waiting > holder->base_priority ? highest_waiting : holder->base_priority);
    }
}

void native_mutex_count(native_task_t *holder, int change)
{
    holder->mutexes_held += (UBaseType_t)change;
}

UBaseType_t uxTaskPriorityGet(const TaskHandle_t xTask)
{
    return task_of(xTask, __func__)->priority;
}

void vTaskPrioritySet(TaskHandle_t xTask, UBaseType_t uxNewPriority)
{
    native_task_t *task = task_of(xTask, __func__);
    if (uxNewPriority >= configMAX_PRIORITIES) {
        uxNewPriority = configMAX_PRIORITIES - 1;
    }
    bool inherits = task->priority > task->base_priority && task->mutexes_held > 0;
    task->base_priority = uxNewPriority;
    if (!inherits || uxNewPriority > task->priority) {
        set_priority(task, uxNewPriority);
    }
    native_preempt();
}

/* --- Creating and deleting --- */

static void *thread_main(void *argument)
{
    native_task_t *self = argument;
    g_native_hooks.thread_begin();
    await_baton(self);
    self->code(self->argument);
    char text[96];
    snprintf(text, sizeof text, "FreeRTOS Task \"%s\" should not return, Aborting now!", self->name);
    g_native_hooks.panic(text);
    return NULL; // not reached
}

static void start_thread(native_task_t *task)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, HOST_STACK_BYTES + HOST_GUARD_BYTES);
    pthread_attr_setguardsize(&attributes, HOST_GUARD_BYTES);
    int error = pthread_create(&task->thread, &attributes, thread_main, task);
    if (error != 0) {
        fprintf(stderr, "native: no thread for task %s: %s\n", task->name, strerror(error));
        g_native_hooks.host_exit(2);
    }
    pthread_attr_destroy(&attributes);
    task->has_thread = true;
    pthread_attr_t actual;
    if (pthread_getattr_np(task->thread, &actual) == 0) {
        void *low = NULL;
        size_t size = 0;
        pthread_attr_getstack(&actual, &low, &size);
        pthread_attr_destroy(&actual);
        task->guard_start = (uintptr_t)low - HOST_GUARD_BYTES;
        task->stack_end = (uintptr_t)low + size;
    }
}

static native_task_t *new_task(TaskFunction_t code, const char *name, void *argument, uint32_t stack_size,
                               UBaseType_t priority, BaseType_t core, void *stack, void *tcb, memory_t memory)
{
    assert(core == tskNO_AFFINITY || core < configNUMBER_OF_CORES);
    native_task_t *task = native_host_alloc(sizeof *task);
    snprintf(task->name, sizeof task->name, "%s", name != NULL ? name : "");
    task->code = code;
    task->argument = argument;
    task->stack = stack;
    task->stack_size = stack_size;
    task->memory = memory;
    task->core = core;
    task->number = ++s_task_number;
    task->base_priority = task->priority =
        priority < configMAX_PRIORITIES ? priority : configMAX_PRIORITIES - 1;
    task->timeout.fire = timed_out;
    task->timeout.context = task;
    sem_init(&task->baton, 0, 0);
    task->handle = tcb;
    native_object_bind(tcb, NATIVE_TASK, task);
    native_task_t **link = &s_all;
    while (*link != NULL) {
        link = &(*link)->next_all;
    }
    *link = task;
    s_task_count++;
    return task;
}

static TaskHandle_t launch(native_task_t *task)
{
    TaskHandle_t handle = task->handle;
    start_thread(task);
    make_ready(task);
    native_preempt();
    return handle;
}

BaseType_t xTaskCreatePinnedToCore(TaskFunction_t pxTaskCode, const char *const pcName,
                                   const uint32_t ulStackDepth, void *const pvParameters,
                                   UBaseType_t uxPriority, TaskHandle_t *const pxCreatedTask,
                                   const BaseType_t xCoreID)
{
    void *stack = heap_caps_malloc(ulStackDepth, NATIVE_KERNEL_CAPS);
    void *tcb = stack == NULL ? NULL : heap_caps_malloc(NATIVE_SIZE_TCB(g_native_cores), NATIVE_KERNEL_CAPS);
    if (tcb == NULL) {
        heap_caps_free(stack);
        return errCOULD_NOT_ALLOCATE_REQUIRED_MEMORY;
    }
    native_task_t *task = new_task(pxTaskCode, pcName, pvParameters, ulStackDepth, uxPriority, xCoreID, stack,
                                   tcb, MEMORY_HEAP);
    if (pxCreatedTask != NULL) {
        *pxCreatedTask = task->handle; // before the task can run, as in FreeRTOS
    }
    launch(task);
    return pdPASS;
}

TaskHandle_t xTaskCreateStaticPinnedToCore(TaskFunction_t pxTaskCode, const char *const pcName,
                                           const uint32_t ulStackDepth, void *const pvParameters,
                                           UBaseType_t uxPriority, StackType_t *const puxStackBuffer,
                                           StaticTask_t *const pxTaskBuffer, const BaseType_t xCoreID)
{
    assert(puxStackBuffer != NULL);
    assert(pxTaskBuffer != NULL);
    return launch(new_task(pxTaskCode, pcName, pvParameters, ulStackDepth, uxPriority, xCoreID,
                           puxStackBuffer, pxTaskBuffer, MEMORY_STATIC));
}

TaskHandle_t native_task_create_system(TaskFunction_t code, const char *name, uint32_t stack,
                                       UBaseType_t priority, BaseType_t core)
{
    static StaticTask_t s_blocks[8];
    static size_t s_used;
    native_task_t *task =
        new_task(code, name, NULL, stack, priority, core, NULL, &s_blocks[s_used++], MEMORY_STATIC);
    if (code != NULL) {
        return launch(task);
    }
    task->state = STATE_BLOCKED; // it never runs; it is only counted and listed
    return task->handle;
}

/* Frees the stack, then the TCB, as FreeRTOS' prvDeleteTCB() does. */
static void free_task(native_task_t *task)
{
    void *tcb = task->handle;
    native_object_unbind(tcb);
    if (task->memory == MEMORY_HEAP) {
        heap_caps_free(task->stack);
        heap_caps_free(tcb);
    }
    sem_destroy(&task->baton);
    native_host_free(task);
}

static void forget(native_task_t *task)
{
    native_task_t **link = &s_all;
    while (*link != task) {
        link = &(*link)->next_all;
    }
    *link = task->next_all;
    s_task_count--;
    g_native_hooks.task_deleted(task);
}

static void idle_work(void)
{
    while (s_zombies != NULL) {
        native_task_t *task = s_zombies;
        s_zombies = task->next_all;
        free_task(task);
    }
    for (int core = 0; core < configNUMBER_OF_CORES; core++) {
        s_current = s_idle[core];
        g_native_hooks.idle(core);
    }
    s_current = s_idle[0];
}

/* Ends another task's thread, which waits for the baton, by giving it the baton. */
static void end_thread(native_task_t *task)
{
    if (task->has_thread) {
        task->ended = true;
        sem_post(&task->baton);
        pthread_join(task->thread, NULL);
    }
}

void vTaskDelete(TaskHandle_t xTaskToDelete)
{
    native_task_t *task = task_of(xTaskToDelete, __func__);
    if (task == s_idle[0]) {
        g_native_hooks.panic("assert failed: vTaskDelete (the idle task cannot be deleted)");
    }
    if (task->mutexes_held > 0) {
        // On the chip there is no panic, but the next task that takes that mutex blocks permanently.
        g_native_hooks.panic(
            "assert failed: vTaskDelete (the task holds a mutex, which no other task can give)");
    }
    if (task->state == STATE_READY) {
        ready_remove(task);
    }
    wait_list_remove(task);
    native_event_cancel(&task->timeout);
    forget(task);
    task->state = STATE_DELETED;
    if (task != s_current) {
        end_thread(task);
        free_task(task);
        return;
    }
    if (native_in_isr() || s_critical_depth > 0 || s_suspend_depth > 0) {
        g_native_hooks.panic("assert failed: vTaskDelete (scheduler suspended or interrupts masked)");
    }
    native_task_t **link = &s_zombies;
    while (*link != NULL) {
        link = &(*link)->next_all;
    }
    task->next_all = NULL;
    *link = task;
    // From here on the task object must not be accessed: it may be freed before this thread ends.
    pthread_detach(pthread_self());
    native_task_t *next = run_next();
    g_native_hooks.thread_end();
    sem_post(&next->baton);
    pthread_exit(NULL);
}

/* --- Delays, suspension --- */

void vTaskSuspend(TaskHandle_t xTaskToSuspend)
{
    native_task_t *task = task_of(xTaskToSuspend, __func__);
    if (task == s_current) {
        ready_remove(task);
        task->state = STATE_SUSPENDED;
        reschedule();
        return;
    }
    if (task->state == STATE_READY) {
        ready_remove(task);
    }
    wait_list_remove(task);
    native_event_cancel(&task->timeout);
    task->woken = false;
    task->state = STATE_SUSPENDED;
}

void vTaskSuspendAll(void)
{
    s_suspend_depth++;
}

/* --- Critical sections --- */

static void masked(void)
{
    if (s_critical_depth++ == 0) {
        s_critical_since_us = native_now_us();
    }
}

static void unmasked(void)
{
    if (s_critical_depth == 0 || --s_critical_depth > 0 || native_in_isr()) {
        return;
    }
    native_clock_fire_due();
    native_preempt();
}

void native_check_int_wdt(void)
{
#if CONFIG_ESP_INT_WDT
    if (s_critical_depth > 0 &&
        native_now_us() - s_critical_since_us > CONFIG_ESP_INT_WDT_TIMEOUT_MS * 1000ull) {
        g_native_hooks.int_wdt();
    }
#endif
}

BaseType_t xPortEnterCriticalTimeout(portMUX_TYPE *mux, BaseType_t timeout)
{
    (void)timeout;
    g_native_hooks.alive();
    mux->owner = 0;
    mux->count++;
    masked();
    return pdPASS;
}

void vPortEnterCritical(portMUX_TYPE *mux)
{
    xPortEnterCriticalTimeout(mux, portMUX_NO_TIMEOUT);
}

void vPortExitCritical(portMUX_TYPE *mux)
{
    if (mux->count == 0) {
        g_native_hooks.panic("assert failed: vPortExitCritical (the lock is not held)");
    }
    if (--mux->count == 0) {
        mux->owner = SPINLOCK_FREE;
    }
    unmasked();
}

void vPortDisableInterrupts(void)
{
    if (s_critical_depth == 0) {
        masked();
    }
}

BaseType_t xPortInIsrContext(void)
{
    return native_in_isr();
}

BaseType_t xPortGetCoreID(void)
{
    return s_current != NULL && s_current->core == 1 ? 1 : 0;
}

/* --- Queries --- */

TickType_t xTaskGetTickCountFromISR(void)
{
    return ticks_now();
}

UBaseType_t uxTaskGetNumberOfTasks(void)
{
    return s_task_count;
}

char *pcTaskGetName(TaskHandle_t xTaskToQuery)
{
    return task_of(xTaskToQuery, __func__)->name;
}

TaskHandle_t xTaskGetHandle(const char *pcNameToQuery)
{
    for (native_task_t *task = s_all; task != NULL; task = task->next_all) {
        if (strncmp(task->name, pcNameToQuery, sizeof task->name) == 0) {
            return task->handle;
        }
    }
    return NULL;
}

TaskHandle_t xTaskGetCurrentTaskHandle(void)
{
    return native_task_handle(s_current);
}

TaskHandle_t xTaskGetCurrentTaskHandleForCore(BaseType_t xCoreID)
{
    (void)xCoreID;
    return native_task_handle(s_current);
}

BaseType_t xTaskGetCoreID(TaskHandle_t xTask)
{
    return configNUMBER_OF_CORES > 1 ? task_of(xTask, __func__)->core : 0;
}

uint8_t *pxTaskGetStackStart(TaskHandle_t xTask)
{
    return task_of(xTask, __func__)->stack;
}

UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t xTask)
{
    return task_of(xTask, __func__)->stack_size;
}

static eTaskState state_of(const native_task_t *task)
{
    if (task == s_current) {
        return eRunning;
    }
    switch (task->state) {
    case STATE_READY: return eReady;
    case STATE_SUSPENDED: return eSuspended;
    case STATE_DELETED: return eDeleted;
    case STATE_BLOCKED:
    default: return eBlocked;
    }
}

eTaskState eTaskGetState(TaskHandle_t xTask)
{
    return state_of(task_of(xTask, __func__));
}

/* --- Notifications --- */

static BaseType_t notify(native_task_t *task, UBaseType_t index, uint32_t value, eNotifyAction action,
                         uint32_t *previous)
{
    assert(index < NOTIFICATIONS);
    if (previous != NULL) {
        *previous = task->notify_value[index];
    }
    notify_state_t before = task->notify_state[index];
    task->notify_state[index] = NOTIFY_RECEIVED;
    BaseType_t done = pdPASS;
    switch (action) {
    case eSetBits: task->notify_value[index] |= value; break;
    case eIncrement: task->notify_value[index]++; break;
    case eSetValueWithOverwrite: task->notify_value[index] = value; break;
    case eSetValueWithoutOverwrite:
        if (before == NOTIFY_RECEIVED) {
            done = pdFAIL;
        } else {
            task->notify_value[index] = value;
        }
        break;
    case eNoAction:
    default: break;
    }
    if (before == NOTIFY_WAITING && task->state == STATE_BLOCKED) {
        end_wait(task, true);
    }
    return done;
}

BaseType_t xTaskGenericNotify(TaskHandle_t xTaskToNotify, UBaseType_t uxIndexToNotify, uint32_t ulValue,
                              eNotifyAction eAction, uint32_t *pulPreviousNotificationValue)
{
    native_task_t *task = native_object_get(xTaskToNotify, NATIVE_TASK, __func__);
    BaseType_t done = notify(task, uxIndexToNotify, ulValue, eAction, pulPreviousNotificationValue);
    native_preempt();
    return done;
}

static void wait_for_notification(UBaseType_t index, TickType_t ticks)
{
    s_current->notify_state[index] = NOTIFY_WAITING;
    if (ticks > 0) {
        native_wait(NULL, native_deadline(ticks));
    }
}

uint32_t ulTaskGenericNotifyTake(UBaseType_t uxIndexToWaitOn, BaseType_t xClearCountOnExit,
                                 TickType_t xTicksToWait)
{
    assert(uxIndexToWaitOn < NOTIFICATIONS);
    native_task_t *self = s_current;
    if (self->notify_value[uxIndexToWaitOn] == 0) {
        wait_for_notification(uxIndexToWaitOn, xTicksToWait);
    }
    uint32_t value = self->notify_value[uxIndexToWaitOn];
    if (value != 0) {
        self->notify_value[uxIndexToWaitOn] = xClearCountOnExit ? 0 : value - 1;
    }
    self->notify_state[uxIndexToWaitOn] = NOTIFY_NONE;
    return value;
}

/* --- Start --- */

void native_scheduler_start(void (*main_task)(void *), uint32_t main_stack_address, uint32_t main_tcb_address,
                            void (*idle_step)(void))
{
    s_idle_step = idle_step;
    static StaticTask_t s_main_block;
    // In ESP-IDF's order of creation. Their memory is part of the board profile's startup blocks. There are
    // no timer tasks, since the linker removes them from an image that uses no timer.
#if configNUMBER_OF_CORES > 1
    native_task_create_system(NULL, "ipc0", 1024, configMAX_PRIORITIES - 1, 0);
    native_task_create_system(NULL, "ipc1", 1024, configMAX_PRIORITIES - 1, 1);
#endif
    bool charged = main_stack_address != 0 && main_tcb_address != 0;
    native_task_t *main = new_task(main_task, "main", NULL, ESP_TASK_MAIN_STACK, ESP_TASK_MAIN_PRIO, 0,
                                   (void *)(uintptr_t)main_stack_address,
                                   charged ? (void *)(uintptr_t)main_tcb_address : (void *)&s_main_block,
                                   charged ? MEMORY_HEAP : MEMORY_STATIC);
    start_thread(main);
    make_ready(main);
    static const char *const idle_names[] = {"IDLE0", "IDLE1"};
    for (int core = 0; core < configNUMBER_OF_CORES; core++) {
        TaskHandle_t idle =
            native_task_create_system(NULL, idle_names[core], configIDLE_TASK_STACK_SIZE, 0, core);
        s_idle[core] = native_object_get(idle, NATIVE_TASK, __func__);
    }

    s_scheduler_start_us = native_now_us() - native_clock_uptime_us();
    s_running = true;
    s_current = select_next();
    sem_post(&s_current->baton);
    pthread_exit(NULL); // the first thread has no task
}
