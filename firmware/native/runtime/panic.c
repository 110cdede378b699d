/*
 * Panics: what would stop the chip prints in the shape of ESP-IDF's panic handler, then the process ends with
 * the code of a software reset. Faults of the host process (SIGSEGV, …) are the chip's exceptions. A task
 * that runs for ever without calling the runtime stops virtual time, so the host's CPU clock has to notice
 * it.
 */
#include "native.h"

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
#include "esp_app_desc.h"
#include "heap_caps_native.h"
#include "native_console.h"

#define SIGNAL_STACK_BYTES (64 * 1024)
#define HANG_CHECK_MS 250 /* of CPU time */
#define HANG_CHECKS 4     /* without a call of the runtime: the program hangs */
#define FRAMES_MAX 32

static volatile unsigned s_calls;
static unsigned s_calls_seen;
static unsigned s_hang_count;
static volatile sig_atomic_t s_panicking;

extern const char __executable_start[];

void native_alive(void)
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

/* Code addresses as offsets into the ELF, which is what addr2line takes; others as they are. */
static uint32_t code_offset(uintptr_t address)
{
    return (uint32_t)(address - (uintptr_t)__executable_start);
}

static void backtrace_out(uintptr_t pc, uintptr_t sp)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    int first = 0;
    for (int i = 0; pc != 0 && i < count; i++) {
        if ((uintptr_t)frames[i] == pc) {
            first = i; // frames above it are the handler's own
        }
    }
    out("\r\n\r\nBacktrace:");
    for (int i = first; i < count; i++) {
        out(" 0x%08x:0x%08x", code_offset((uintptr_t)frames[i]), (unsigned)(uint32_t)sp);
    }
    out("\r\n\r\n\r\n\r\n\r\nELF file SHA256: %s\r\n\r\n", esp_app_get_elf_sha256_str());
}

static void __attribute__((noreturn)) finish(uint32_t reason)
{
    native_rtc_hint_set(reason);
    out("Rebooting...\r\n");
    _exit(100 + RESET_REASON_CPU0_SW);
}

static void enter(void)
{
    if (s_panicking++) {
        out("Panic handler entered multiple times. Abort panic handling. Rebooting ...\r\n");
        _exit(100 + RESET_REASON_CPU0_SW);
    }
    native_host_flush();
}

void native_panic(const char *headline, uint32_t reason)
{
    enter();
    if (headline != NULL) {
        out("\r\n%s\r\n", headline);
    }
    backtrace_out((uintptr_t)__builtin_return_address(0), (uintptr_t)__builtin_frame_address(0));
    finish(reason);
}

void native_abort(void)
{
    char text[64];
    snprintf(text, sizeof text, "abort() was called at PC 0x%08x on core 0",
             code_offset((uintptr_t)__builtin_return_address(0)));
    native_panic(text, ESP_RST_PANIC);
}

/* glibc's assert() ends here, in this program. */
void __assert_fail(const char *expression, const char *file, unsigned int line, const char *function)
{
    const char *name = strrchr(file, '/');
    char text[256];
    snprintf(text, sizeof text, "assert failed: %s %s:%u (%s)", function, name != NULL ? name + 1 : file,
             line, expression);
    native_panic(text, ESP_RST_PANIC);
}

static void heap_panic(const char *message)
{
    char text[256];
    snprintf(text, sizeof text, "%s", message);
    native_panic(text, ESP_RST_PANIC);
}

/* --- exceptions --- */

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
#define PAGE_FAULT_WRITE(context) false // not told apart
#else
#error "native: add this CPU's registers here"
#endif

static exception_t exception_of(int number, const siginfo_t *info, const ucontext_t *context)
{
    switch (number) {
    case SIGFPE: return (exception_t){"IntegerDivideByZero", 6};
    case SIGILL: return (exception_t){"IllegalInstruction", 0};
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
    out("\r\nCore  0 register dump:\r\n");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint32_t value = 0;
        if (strcmp(names[i], "PC") == 0) {
            value = code_offset(pc);
        } else if (strcmp(names[i], "A1") == 0) {
            value = (uint32_t)sp;
        } else if (strcmp(names[i], "EXCCAUSE") == 0) {
            value = cause;
        } else if (strcmp(names[i], "EXCVADDR") == 0) {
            value = (uint32_t)address;
        }
        out("%-8s: 0x%08x  %s", names[i], (unsigned)value, i % 4 == 3 ? "\r\n" : "");
    }
    out("(host process: PC is an offset into the ELF, A1 and EXCVADDR are the low halves of host addresses, "
        "other registers are not shown)\r\n");
}

static void on_signal(int number, siginfo_t *info, void *context_pointer)
{
    const ucontext_t *context = context_pointer;
    uintptr_t pc = REG_PC(context);
    uintptr_t sp = REG_SP(context);
    enter();
    if (number == SIGABRT) {
        out("\r\nabort() was called at PC 0x%08x on core 0\r\n", code_offset(pc));
        backtrace_out(pc, sp);
        finish(ESP_RST_PANIC);
    }
    uintptr_t address = number == SIGSEGV || number == SIGBUS ? (uintptr_t)info->si_addr : 0;
    if (number == SIGSEGV && native_in_stack_guard(address)) {
#if CONFIG_FREERTOS_WATCHPOINT_END_OF_STACK
        out("Guru Meditation Error: Core  0 panic'ed (Unhandled debug exception). \r\n"
            "Debug exception reason: Stack canary watchpoint triggered (%s) \r\n",
            native_current_name());
        registers_out(pc, sp, 1, address);
#else
        out("\r\n***ERROR*** A stack overflow in task %s has been detected.\r\n", native_current_name());
#endif
        backtrace_out(pc, sp);
        finish(ESP_RST_PANIC);
    }
    exception_t exception = exception_of(number, info, context);
    out("Guru Meditation Error: Core  0 panic'ed (%s). Exception was unhandled.\r\n", exception.name);
    registers_out(pc, sp, exception.cause, address);
    backtrace_out(pc, sp);
    finish(ESP_RST_PANIC);
}

/* --- hangs --- */

/* The interrupt watchdog if interrupts are masked, else the task watchdog: on the chip they come on their
 * own. */
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
    uint32_t ms = (uint32_t)(native_now_us() / 1000);
    if (native_in_critical()) {
        out("Guru Meditation Error: Core  0 panic'ed (Interrupt wdt timeout on CPU0). \r\n");
        registers_out(pc, sp, 5, 0);
        backtrace_out(pc, sp);
        finish(ESP_RST_INT_WDT);
    }
    out("E (%u) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog "
        "in time:"
        "\r\nE (%u) task_wdt:  - IDLE0 (CPU 0)\r\nE (%u) task_wdt: Tasks currently running:\r\n"
        "E (%u) task_wdt: CPU 0: %s\r\nE (%u) task_wdt: CPU 1: IDLE1\r\nE (%u) task_wdt: Aborting.\r\n",
        (unsigned)ms, (unsigned)ms, (unsigned)ms, (unsigned)ms, native_current_name(), (unsigned)ms,
        (unsigned)ms);
    out("\r\nabort() was called at PC 0x%08x on core 0\r\n", code_offset(pc));
    backtrace_out(pc, sp);
    finish(ESP_RST_TASK_WDT);
}

static void on_term(int number)
{
    (void)number;
    _exit(0); // the board ends this process: power off
}

/* --- setting up --- */

#if defined(__SANITIZE_ADDRESS__)
void native_panic_thread_init(void)
{
}

void native_panic_thread_exit(void)
{
}
#else
static __thread void *t_signal_stack;

void native_panic_thread_init(void)
{
    t_signal_stack = native_host_alloc(SIGNAL_STACK_BYTES);
    stack_t stack = {.ss_sp = t_signal_stack, .ss_size = SIGNAL_STACK_BYTES};
    sigaltstack(&stack, NULL);
}

void native_panic_thread_exit(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    native_host_free(t_signal_stack);
}
#endif

void native_panic_init(void)
{
    void *frame[1];
    backtrace(frame, 1); // loads what it needs now: not in a signal handler
    native_panic_thread_init();

    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigfillset(&action.sa_mask);
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
#if defined(__SANITIZE_ADDRESS__)
        if (faults[i] != SIGABRT) {
            continue; // the sanitizer reports them better
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
}
