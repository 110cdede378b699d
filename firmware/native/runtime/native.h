/*
 * What the parts of the native runtime share. Nothing outside firmware/native includes this.
 *
 * Exactly one thread runs at a time: the running task's, or, while all tasks wait, that of the task which
 * waited last (it acts as the idle task). So nothing in the runtime needs a lock. "Interrupts" are events of
 * the virtual clock, fired between two steps of a task; their functions may ready tasks but never wait.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "freertos/FreeRTOS.h"
#include "esp_heap_model.h"

/* --- parameters of this start (params.c) --- */

typedef struct {
    uint8_t mac[6];
    uint32_t chip_revision; /* major * 100 + minor */
    uint32_t psram_bytes;   /* 0: none */
    const char *flash_file;
    const char *rtc_file;
    uint32_t rom_cause; /* ROM reset code */
    uint64_t start_us;  /* virtual time at which the app starts */
    uint64_t seed;
    double time_scale; /* virtual seconds per host second; 0: as fast as possible */
    bool uart_paced;   /* bytes reach the host when the line would have carried them */
    int faults_fd;     /* socket on which faults are asked for; -1: none */
    uint8_t elf_sha256[32];
    const char *project_name; // of the app description, as are the next two; NULL: this build's
    const char *project_version;
    const char *idf_version;
    heap_system_t *heap;
} native_params_t;

extern native_params_t g_native_params;

/* Reads the file and sets up the heap from its lines; a bad line ends the process with a message on stderr.
 */
void native_params_load(const char *path);

/* --- faults on request (faults.c) --- */

typedef struct {
    bool boot_loop;          /* every start ends in a panic before app_main() */
    bool power_cut_at_panic; /* where the chip would panic, its power goes instead */
    bool no_sensor;          /* the camera's connector is empty */
    bool sensor_dead;        /* once used, the sensor answers only after its power was cut */
    bool sensor_used;        /* ... and it was used before this start */
    bool i2s_no_memory;      /* there is no room for I2S's DMA buffers */
} native_faults_t;

extern native_faults_t g_native_faults;

/* `name` or `name=number`; false if it is unknown. The line is written to. */
bool native_faults_line(char *line);
/* Takes what was asked for over faults_fd; does not wait. */
void native_faults_receive(void);
/* For a running task, with interrupts on: does what was asked of the task that runs next. */
void native_faults_act(void);

/* --- the virtual clock (clock.c) --- */

typedef struct native_event native_event_t;
struct native_event {
    void (*fire)(native_event_t *event);
    void *context;
    uint64_t when_us;
    uint64_t order; /* events of the same time fire in the order they were armed */
    native_event_t *next;
    bool armed;
};

/* us since reset */
uint64_t native_now_us(void);
void native_event_arm(native_event_t *event, uint64_t when_us);
void native_event_cancel(native_event_t *event);
/* The running code takes this long. Due events fire, higher tasks preempt, equals share by ticks. */
void native_consume_us(uint64_t us);
/* A look at a clock or a state in a loop that may be waiting for it: 1 us. */
void native_poll_cost(void);

void native_clock_init(uint64_t start_us);
/* Fires what is due now. */
void native_clock_fire_due(void);
/* Input is about to be handed in: if all tasks wait, the clock moves up to this moment. */
void native_clock_input_arrived(void);
/* For the idle task: waits (paced) for the next event or input and fires it. */
void native_clock_idle_step(void);

/* --- scheduler (task.c) --- */

#define NATIVE_TICK_US (1000000u / configTICK_RATE_HZ)

typedef struct native_task native_task_t;

/* Tasks waiting for one thing, in order of priority, then of arrival. */
typedef struct {
    native_task_t *head;
} native_wait_list_t;

#define NATIVE_WAIT_FOREVER UINT64_MAX

/* Waits until woken or until the deadline (us; NATIVE_WAIT_FOREVER). True when woken. list may be NULL. */
bool native_wait(native_wait_list_t *list, uint64_t deadline_us);
/* Readies the first task of the list; false if there is none. Does not switch: see native_preempt(). */
bool native_wake_one(native_wait_list_t *list);
void native_wake_all(native_wait_list_t *list);
/* Deadline of a wait of so many ticks that starts now: the tick interrupt that ends it. */
uint64_t native_deadline(TickType_t ticks);
/* Switches to a higher ready task, if the context allows. */
void native_preempt(void);
bool native_in_isr(void);
/* Interrupts masked: nothing fires, nothing switches. */
bool native_in_critical(void);
/* Panics when interrupts have been masked for longer than the interrupt watchdog allows. */
void native_check_int_wdt(void);
bool native_scheduler_running(void);
void native_isr_enter(void);
void native_isr_exit(void);
native_task_t *native_current(void);
const char *native_current_name(void);
bool native_current_is_idle(void);
UBaseType_t native_priority(const native_task_t *task);
/* Priority inheritance: raise a mutex holder while a higher task waits, and put it back. */
void native_inherit(native_task_t *holder, UBaseType_t priority);
void native_disinherit(native_task_t *holder);
/* The task that lent its priority gave up: what the others still lend remains. */
void native_disinherit_to(native_task_t *holder, UBaseType_t highest_waiting);
void native_mutex_count(native_task_t *holder, int change);
TaskHandle_t native_task_handle(const native_task_t *task);
/* Accounts virtual CPU time to the running task and returns whether an equal is ready (for time slicing). */
void native_account(uint64_t us);
bool native_equal_is_ready(void);
void native_yield(void);
uint64_t native_since_start_us(void);
/* Runs fn as the first task, named main, with system tasks around it. Never returns. */
void native_scheduler_start(void (*main_task)(void *), uint32_t main_stack_address, uint32_t main_tcb_address)
    __attribute__((noreturn));
/* Bounds of the running thread's host stack guard, to tell a stack overflow from a wild pointer. */
bool native_in_stack_guard(uintptr_t address);

/* --- kernel objects (object.c) --- */

typedef enum {
    NATIVE_TASK = 1,
    NATIVE_QUEUE,
    NATIVE_EVENT_GROUP,
    NATIVE_STREAM_BUFFER,
    NATIVE_RING_BUFFER,
    NATIVE_TIMER,
    NATIVE_ESP_TIMER,
    NATIVE_I2S_CHANNEL,
} native_kind_t;

/* A handle is the address of the block the object takes on the chip; the block's first 8 bytes name the
 * object. */
void native_object_bind(void *block, native_kind_t kind, void *object);
void *native_object_get(const void *handle, native_kind_t kind, const char *function);
void native_object_unbind(void *block);
/* Host memory, zeroed; the process ends when the host has none. */
void *native_host_alloc(size_t size);
void native_host_free(void *p);

/* What kernel objects take of the ESP32's heap (facts: recorded allocations of ESP-IDF v5.4; sizes as asked).
 */
#define NATIVE_SIZE_TCB 340
#define NATIVE_SIZE_QUEUE 84
#define NATIVE_SIZE_EVENT_GROUP 36
#define NATIVE_SIZE_STREAM_BUFFER 40
#define NATIVE_SIZE_RING_BUFFER 112
#define NATIVE_SIZE_TIMER 40
#define NATIVE_SIZE_ESP_TIMER 32

#define NATIVE_KERNEL_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)

/* A queue of driver events: what an item takes on the chip need not be its size here. */
QueueHandle_t native_queue_create_with_caps(UBaseType_t length, UBaseType_t item_size,
                                            UBaseType_t charged_item_size, UBaseType_t caps);

/* --- interrupts: what esp_intr_alloc takes of the heap (intr.c) --- */

typedef struct native_intr native_intr_t;

typedef enum {
    NATIVE_INTR_NOT_SHARED,
    NATIVE_INTR_I2S0,
    NATIVE_INTR_I2S1,
    NATIVE_INTR_SOURCES,
} native_intr_source_t;

/* NULL when there is no memory. */
native_intr_t *native_intr_alloc(native_intr_source_t source);
void native_intr_free(native_intr_t *intr);

/* --- a lock of newlib: a mutex of 84 bytes, made at its first use (lock.c) --- */

typedef struct {
    QueueHandle_t mutex;
    bool recursive;
    bool precharged; /* its block is among those taken at start */
} native_lock_t;

void native_lock_acquire(native_lock_t *lock);
bool native_lock_try_acquire(native_lock_t *lock);
void native_lock_release(native_lock_t *lock);
void native_lock_ensure(native_lock_t *lock);
/* A mutex that takes no modelled memory. */
QueueHandle_t native_mutex_uncharged(bool recursive);

/* --- UART 0 (uart.c) --- */

void native_uart_init(void);
/* Input: how many bytes can be taken now, and handing them in (as an interrupt). */
size_t native_uart_rx_room(void);
void native_uart_receive(const uint8_t *data, size_t length);
/* One character by the ROM or without a driver: waits for the FIFO, busy. */
void native_uart_put_polling(char c);
/* stdout's path: through the driver or polling, as uart_vfs_dev_use_* has set; with line end conversion. */
void native_uart_vfs_write(const char *data, size_t length);
/* Busy until the FIFO is empty. */
void native_uart_wait_idle_polling(void);
/* fsync() of the console: the same, with stdout's path locked. */
void native_uart_sync(void);

/* --- the host's side of the line (host_io.c) --- */

void native_host_write(const void *data, size_t length);
void native_host_flush(void);
/* Waits at most timeout_ns (0: just looks) for input and hands it to the UART. True when there was some. */
bool native_host_poll(int64_t timeout_ns);
int64_t native_host_now_ns(void);
/* Writes at once, from a signal handler too. */
void native_host_write_raw(const char *data, size_t length);
void native_host_exit(int status) __attribute__((noreturn));

/* --- console (console.c) --- */

/* What is in stdout's line buffer is lost with the chip; an orderly end flushes it. */
void native_console_flush(void);

/* --- system (system.c, rtc.c, panic.c, flash.c, random.c) --- */

enum {
    NATIVE_RESET_NO_HINT = 0, /* else an esp_reset_reason_t */
};

void native_rtc_init(void);
uint32_t native_rtc_hint_take(void);
void native_rtc_hint_set(uint32_t reason);
void native_system_init(void);
void native_reset(uint32_t rom_cause) __attribute__((noreturn));

void native_panic_init(void);
/* Each thread has a stack of its own for signals, so that a stack overflow can be reported. */
void native_panic_thread_init(void);
void native_panic_thread_exit(void);
/* Each of these prints like ESP-IDF's panic handler, saves a core dump and resets. details: the line of an
 * abort or a failed assert; reason: an esp_reset_reason_t. */
void native_panic(const char *details, uint32_t reason) __attribute__((noreturn));
/* abort() called from pc; note: why, where the chip would not say, or NULL. */
void native_abort_at(const void *pc, const char *note) __attribute__((noreturn));
void native_panic_int_wdt(void) __attribute__((noreturn));
/* After the task watchdog's own lines. */
void native_panic_task_wdt(void) __attribute__((noreturn));
/* Offset into the ELF, which is what addr2line takes. */
uint32_t native_code_offset(const void *address);
/* The program is alive: it has called the runtime. */
void native_alive(void);

void native_flash_init(void);
/* What lies at this flash address, to change in place; NULL if the range is outside. For the panic handler,
 * which must not wait or allocate. */
uint8_t *native_flash_at(uint32_t address, uint32_t length);
/* The first data partition of a subtype, without loading (and allocating) the list of partitions. */
bool native_flash_find_data(uint8_t subtype, uint32_t *address, uint32_t *size, char label[17]);

/* --- core dump (core_dump.c) --- */

#define NATIVE_NO_CAUSE 0xFFFF /* no exception: an abort, or a watchdog */

/* What a panic is about; code and data addresses are the host's. */
typedef struct {
    uintptr_t pc;
    uintptr_t sp;
    uintptr_t address; /* EXCVADDR */
    uint32_t cause;    /* EXCCAUSE, or NATIVE_NO_CAUSE */
    uint32_t reason;   /* esp_reset_reason_t */
    const char *details;
} native_crash_t;

/* At start: says what ESP-IDF says of the core dump partition. */
void native_core_dump_init(void);
/* In a panic: saves a core dump and says so. */
void native_core_dump_save(const native_crash_t *crash);

void native_random_init(void);

void native_esp_timer_start(void);
void native_timers_start(void);
void native_task_wdt_start(void);
void native_task_wdt_idle_ran(void);
void native_idle_hooks_run(int core);
void native_task_wdt_forget(native_task_t *task);
native_task_t *native_task_from_handle(TaskHandle_t handle);
const char *native_task_name(const native_task_t *task);

/* Creates a task whose stack and TCB are accounted for elsewhere (at start). */
TaskHandle_t native_task_create_system(TaskFunction_t code, const char *name, uint32_t stack,
                                       UBaseType_t priority, BaseType_t core);
