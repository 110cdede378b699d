/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Panics: prints output in the format of ESP-IDF's panic handler, then ends the process with the code of a
 * software reset. Faults of the host process (SIGSEGV, …) correspond to exceptions of the chip. A task that
 * runs endlessly without calling the runtime stops virtual time, so the host's CPU clock is used to detect
 * it.
 */
#include "idf/panic.h"

#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>
#include "chip/host_io.h"
#include "chip/rtc.h"
#include "esp_app_desc.h"
#include "esp_system.h"
#include "heap/heap_caps_native.h"
#include "idf/code_address.h"
#include "idf/core_dump.h"
#include "idf/faults.h"
#include "kernel/clock.h"
#include "kernel/hooks.h"
#include "kernel/object.h"
#include "kernel/task.h"
#include "native_console.h"
#include "sdkconfig.h"
#include "soc/reset_reasons.h"

#define SIGNAL_STACK_BYTES (64 * 1024)
#define HANG_CHECK_MS 250 /* interval of the checks, in CPU time */
#define HANG_CHECKS 4     /* checks without a call to the runtime before the program counts as hung */
#define FRAMES_MAX 32

/* EXCCAUSE of the ESP32, and ESP-IDF's additional numbers. */
#define CAUSE_ILLEGAL_INSTRUCTION 0
#define CAUSE_DEBUG 1
#define CAUSE_INT_WDT 5

static volatile unsigned s_calls;
static unsigned s_calls_seen;
static unsigned s_hang_count;
static volatile sig_atomic_t s_panicking;

static void alive(void)
{
    s_calls++;
}

static void out(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void out(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length > 0) {
        native_host_write_raw(text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
    }
}

/* Prints how this output differs from a chip's output. note: more details, or NULL. */
static void host_note_out(const char *note)
{
    out("(host process: code addresses are offsets into the ELF, stack pointers and data addresses the low "
        "halves of host addresses%s%s)\r\n",
        note != NULL ? "; " : "", note != NULL ? note : "");
}

static void backtrace_out(uintptr_t pc, uintptr_t sp)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    int first = 0;
    while (first < count && (uintptr_t)frames[first] != pc) {
        first++; // skip the handler's own frames
    }
    out("\r\n\r\nBacktrace:");
    if (first == count) { // after a jump to an invalid address, the unwinder finds no frames
        out(" 0x%08x:0x%08x", native_code_offset(pc), (unsigned)(uint32_t)sp);
#if defined(__x86_64__)
        out(" 0x%08x:0x%08x", native_code_offset(*(const uintptr_t *)sp), (unsigned)(uint32_t)sp);
#endif
    }
    for (int i = first; i < count; i++) {
        out(" 0x%08x:0x%08x", native_code_offset((uintptr_t)frames[i]), (unsigned)(uint32_t)sp);
    }
    out("\r\n\r\n\r\n\r\n\r\nELF file SHA256: %s\r\n\r\n", esp_app_get_elf_sha256_str());
}

static void __attribute__((noreturn)) finish(native_crash_t crash)
{
    backtrace_out(crash.pc, crash.sp);
    native_core_dump_save(&crash);
    native_rtc_hint_set(crash.reason);
    out("Rebooting...\r\n");
    _exit(100 + RESET_REASON_CPU0_SW);
}

static void enter(void)
{
    if (g_native_faults.power_cut_at_panic) {
        _exit(100 + RESET_REASON_CHIP_POWER_ON);
    }
    if (s_panicking++) {
        out("Panic handler entered multiple times. Abort panic handling. Rebooting ...\r\n");
        _exit(100 + RESET_REASON_CPU0_SW);
    }
    native_host_flush();
}

#define CALLER ((uintptr_t)__builtin_return_address(0))
#define FRAME ((uintptr_t)__builtin_frame_address(0))

/* Finishes an abort or a failed assert, after enter(). */
static void __attribute__((noreturn))
panic_at(uintptr_t pc, uintptr_t sp, const char *details, const char *note, uint32_t reason)
{
    out("\r\n%s\r\n", details);
    host_note_out(note);
    finish(
        (native_crash_t){.pc = pc, .sp = sp, .cause = NATIVE_NO_CAUSE, .reason = reason, .details = details});
}

void native_panic(const char *details, uint32_t reason)
{
    enter();
    panic_at(CALLER, FRAME, details, NULL, reason);
}

/* A failed assertion of the kernel. */
static void __attribute__((noreturn)) kernel_panic(const char *details)
{
    enter();
    panic_at(CALLER, FRAME, details, NULL, ESP_RST_PANIC);
}

void native_abort_at(const void *pc, const char *note)
{
    char text[64];
    snprintf(text, sizeof text, "abort() was called at PC 0x%08x on core 0",
             native_code_offset((uintptr_t)pc));
    enter();
    panic_at((uintptr_t)pc, FRAME, text, note, ESP_RST_PANIC);
}

void native_abort(void)
{
    native_abort_at(__builtin_return_address(0), NULL);
}

/* Called by glibc's assert(); replaces glibc's function. */
void __assert_fail(const char *expression, const char *file, unsigned int line, const char *function)
{
    const char *name = strrchr(file, '/');
    char text[256];
    snprintf(text, sizeof text, "assert failed: %s %s:%u (%s)", function, name != NULL ? name + 1 : file,
             line, expression);
    enter();
    panic_at(CALLER, FRAME, text, NULL, ESP_RST_PANIC);
}

static void heap_panic(const char *found, const char *assertion, const char *note)
{
    enter();
    if (found != NULL) {
        out("%s\r\n", found);
    }
    char text[256];
    snprintf(text, sizeof text, "assert failed: %s", assertion);
    panic_at(CALLER, FRAME, text, note, ESP_RST_PANIC);
}

/* --- Exceptions --- */

typedef struct {
    const char *name;
    uint32_t cause; // EXCCAUSE of the ESP32
} exception_t;

#if defined(__x86_64__)
#define REG_PC(context) ((uintptr_t)(context)->uc_mcontext.gregs[REG_RIP])
#define REG_SP(context) ((uintptr_t)(context)->uc_mcontext.gregs[REG_RSP])
#define PAGE_FAULT_WRITE(context) (((context)->uc_mcontext.gregs[REG_ERR] & 2) != 0)
#elif defined(__aarch64__)
#define REG_PC(context) ((uintptr_t)(context)->uc_mcontext.pc)
#define REG_SP(context) ((uintptr_t)(context)->uc_mcontext.sp)
#define PAGE_FAULT_WRITE(context) false // this CPU does not distinguish loads from stores
#else
#error "native: unknown CPU; add its registers here"
#endif

static exception_t exception_of(int number, const siginfo_t *info, const ucontext_t *context)
{
    switch (number) {
    case SIGFPE: return (exception_t){"IntegerDivideByZero", 6};
    case SIGILL: return (exception_t){"IllegalInstruction", CAUSE_ILLEGAL_INSTRUCTION};
    case SIGBUS: return (exception_t){"LoadStoreError", 3};
    default:
        if ((uintptr_t)info->si_addr == REG_PC(context)) {
            return (exception_t){"InstrFetchProhibited", 20};
        }
        return PAGE_FAULT_WRITE(context) ? (exception_t){"StoreProhibited", 29}
                                         : (exception_t){"LoadProhibited", 28};
    }
}

static void registers_out(uintptr_t pc, uintptr_t sp, uint32_t cause, uintptr_t address)
{
    static const char *const names[] = {
        "PC",  "PS",  "A0",  "A1",  "A2",  "A3",  "A4",  "A5",       "A6",       "A7",   "A8",   "A9",
        "A10", "A11", "A12", "A13", "A14", "A15", "SAR", "EXCCAUSE", "EXCVADDR", "LBEG", "LEND", "LCOUNT"};
    out("Core  0 register dump:\r\n");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint32_t value = 0;
        if (strcmp(names[i], "PC") == 0) {
            value = native_code_offset(pc);
        } else if (strcmp(names[i], "A1") == 0) {
            value = (uint32_t)sp;
        } else if (strcmp(names[i], "EXCCAUSE") == 0) {
            value = cause;
        } else if (strcmp(names[i], "EXCVADDR") == 0) {
            value = (uint32_t)address;
        }
        out("%-8s: 0x%08x  %s", names[i], (unsigned)value, i % 4 == 3 ? "\r\n" : "");
    }
    host_note_out("only PC, A1, EXCCAUSE and EXCVADDR are printed");
}

/* Prints the memory at an illegal instruction, as ESP-IDF does: three words, starting one word before it. */
static void instruction_out(uintptr_t pc)
{
    uintptr_t address = (pc & ~(uintptr_t)3) - 4;
    uint32_t words[3];
    memcpy(words, (const void *)address, sizeof words);
    out("Memory dump at 0x%08x: %08x %08x %08x", native_code_offset(address), (unsigned)words[0],
        (unsigned)words[1], (unsigned)words[2]);
}

/* Panics with "Guru Meditation Error". description: text after the cause, with its newline. */
static void __attribute__((noreturn))
guru(const char *cause_name, const char *description, native_crash_t crash)
{
    out("Guru Meditation Error: Core  0 panic'ed (%s). %s\r\n", cause_name, description);
    if (crash.cause == CAUSE_ILLEGAL_INSTRUCTION) {
        instruction_out(crash.pc);
    }
    if (crash.cause == CAUSE_DEBUG) {
        out("Debug exception reason: Stack canary watchpoint triggered (%s) ", native_current_name());
    }
    out("\r\n");
    registers_out(crash.pc, crash.sp, crash.cause, crash.address);
    finish(crash);
}

static void __attribute__((noreturn)) int_wdt(void)
{
    enter();
    guru("Interrupt wdt timeout on CPU0", "",
         (native_crash_t){.pc = CALLER, .sp = FRAME, .cause = CAUSE_INT_WDT, .reason = ESP_RST_INT_WDT});
}

/* Panics after the task watchdog has printed its lines; like ESP-IDF, prints no cause. */
static void __attribute__((noreturn)) task_wdt_panic(uintptr_t pc, uintptr_t sp)
{
    out("\r\n\r\n");
    host_note_out(NULL);
    finish((native_crash_t){.pc = pc, .sp = sp, .cause = NATIVE_NO_CAUSE, .reason = ESP_RST_TASK_WDT});
}

void native_panic_task_wdt(void)
{
    enter();
    task_wdt_panic(CALLER, FRAME);
}

static void on_signal(int number, siginfo_t *info, void *context_pointer)
{
    const ucontext_t *context = context_pointer;
    native_crash_t crash = {.pc = REG_PC(context), .sp = REG_SP(context), .reason = ESP_RST_PANIC};
    enter();
    if (number == SIGABRT) {
        char text[64];
        snprintf(text, sizeof text, "abort() was called at PC 0x%08x on core 0",
                 native_code_offset(crash.pc));
        panic_at(crash.pc, crash.sp, text, NULL, ESP_RST_PANIC);
    }
    crash.address = number == SIGSEGV || number == SIGBUS ? (uintptr_t)info->si_addr : 0;
    if (number == SIGSEGV && native_in_stack_guard(crash.address)) {
#if CONFIG_FREERTOS_WATCHPOINT_END_OF_STACK
        crash.cause = CAUSE_DEBUG;
        guru("Unhandled debug exception", "", crash);
#else
        char text[96];
        snprintf(text, sizeof text, "***ERROR*** A stack overflow in task %s has been detected.",
                 native_current_name());
        panic_at(crash.pc, crash.sp, text, NULL, ESP_RST_PANIC);
#endif
    }
    exception_t exception = exception_of(number, info, context);
    crash.cause = exception.cause;
    guru(exception.name, "Exception was unhandled.", crash);
}

/* --- Hangs --- */

/* Detects a hang, and acts as the interrupt watchdog if interrupts are masked, otherwise as the task
 * watchdog. */
static void on_cpu_time(int number, siginfo_t *info, void *context_pointer)
{
    (void)number;
    (void)info;
    uintptr_t pc = REG_PC((const ucontext_t *)context_pointer);
    uintptr_t sp = REG_SP((const ucontext_t *)context_pointer);
    if (s_calls != s_calls_seen) {
        s_calls_seen = s_calls;
        s_hang_count = 0;
        return;
    }
    if (++s_hang_count < HANG_CHECKS) {
        return;
    }
    enter();
    if (native_in_critical()) {
        guru("Interrupt wdt timeout on CPU0", "",
             (native_crash_t){.pc = pc, .sp = sp, .cause = CAUSE_INT_WDT, .reason = ESP_RST_INT_WDT});
    }
    unsigned ms = (unsigned)(native_now_us() / 1000);
    const char *task = native_current_name();
    out("E (%u) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog "
        "in time:\r\nE (%u) task_wdt:  - IDLE0 (CPU 0)\r\nE (%u) task_wdt: Tasks currently running:\r\n",
        ms, ms, ms);
    out("E (%u) task_wdt: CPU 0: %s\r\nE (%u) task_wdt: CPU 1: IDLE1\r\nE (%u) task_wdt: Aborting.\r\n"
        "E (%u) task_wdt: Print CPU 0 (current core) backtrace\r\n",
        ms, task, ms, ms, ms);
    task_wdt_panic(pc, sp);
}

static void on_term(int number)
{
    (void)number;
    _exit(0); // the board ends this process, which means power off
}

/* --- Setting up --- */

#if defined(__SANITIZE_ADDRESS__)
static void thread_begin(void)
{
}

static void thread_end(void)
{
}
#else
static __thread void *t_signal_stack;

static void thread_begin(void)
{
    t_signal_stack = native_host_alloc(SIGNAL_STACK_BYTES);
    stack_t stack = {.ss_sp = t_signal_stack, .ss_size = SIGNAL_STACK_BYTES};
    sigaltstack(&stack, NULL);
}

static void thread_end(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    native_host_free(t_signal_stack);
}
#endif

void native_panic_init(void)
{
    void *frame[1];
    backtrace(frame, 1); // loads the unwinder's library now, not in a signal handler
    thread_begin();

    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigfillset(&action.sa_mask);
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
#if defined(__SANITIZE_ADDRESS__)
        if (faults[i] != SIGABRT) {
            continue; // the sanitizer's own report has more details
        }
#endif
        sigaction(faults[i], &action, NULL);
    }
    struct sigaction term = {.sa_handler = on_term, .sa_flags = SA_ONSTACK};
    sigaction(SIGTERM, &term, NULL);
    signal(SIGPIPE, SIG_IGN);

    struct sigaction cpu = {.sa_sigaction = on_cpu_time, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigaction(SIGVTALRM, &cpu, NULL);
    struct itimerval interval = {
        .it_interval = {.tv_usec = HANG_CHECK_MS * 1000},
        .it_value = {.tv_usec = HANG_CHECK_MS * 1000},
    };
    setitimer(ITIMER_VIRTUAL, &interval, NULL);
    heap_caps_native_set_panic(heap_panic);
    g_native_hooks.panic = kernel_panic;
    g_native_hooks.abort_at = native_abort_at;
    g_native_hooks.int_wdt = int_wdt;
    g_native_hooks.alive = alive;
    g_native_hooks.thread_begin = thread_begin;
    g_native_hooks.thread_end = thread_end;
}
