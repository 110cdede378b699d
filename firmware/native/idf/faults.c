/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Faults of the firmware's environment that the board's user requests.
 *
 * A request is a line `name` or `name=number`. A fault= line of the params file takes effect at boot; a
 * line from the socket faults_fd takes effect while the firmware is running.
 * hotpin_hil/virtual/faults/firmware.py defines the names.
 *
 * Similar lines move a held clock. `run=US` lets it run for this time; the answer is a line with the time
 * since reset in us. `jump=US` moves the clock and all pending deadlines, so nothing happens in between.
 */
#include "idf/faults.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "chip/host_io.h"
#include "chip/params.h"
#include "chip/rtc.h"
#include "chip/uart.h"
#include "esp_log.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "idf/system.h"
#include "kernel/clock.h"
#include "kernel/hooks.h"
#include "kernel/run.h"
#include "soc/reset_reasons.h"

#define LINE_MAX_BYTES 64

native_faults_t g_native_faults;

static native_event_t s_brown_out;

typedef enum { NOTHING, SPIN, SPIN_MASKED, STORE } misdeed_t;

static misdeed_t s_misdeed; // fault that the next running task must trigger

/* Interrupt of the brownout detector, as handled by ESP-IDF v5.4 and v5.5 (brownout.c): sets the reset hint,
 * logs a line, resets the digital core. */
static void brown_out(native_event_t *event)
{
    (void)event;
    native_rtc_hint_set(ESP_RST_BROWNOUT);
    ESP_DRAM_LOGE("BOD", "Brownout detector was triggered\r\n\r\n");
    native_uart_wait_idle_polling();
    native_reset(RESET_REASON_CORE_SW);
}

static bool take(const char *name, uint64_t number)
{
    native_faults_t *faults = &g_native_faults;
    if (strcmp(name, "brown_out") == 0) {
        s_brown_out.fire = brown_out;
        native_event_arm(&s_brown_out, native_now_us());
    } else if (strcmp(name, "task_wdt") == 0) {
        s_misdeed = SPIN;
    } else if (strcmp(name, "int_wdt") == 0) {
        s_misdeed = SPIN_MASKED;
    } else if (strcmp(name, "panic") == 0) {
        s_misdeed = STORE;
    } else if (strcmp(name, "boot_loop") == 0) {
        faults->boot_loop = number != 0;
    } else if (strcmp(name, "power_cut_at_panic") == 0) {
        faults->power_cut_at_panic = number != 0;
    } else if (strcmp(name, "no_sensor") == 0) {
        faults->no_sensor = number != 0;
    } else if (strcmp(name, "sensor_dead") == 0) {
        faults->sensor_dead = number != 0;
    } else if (strcmp(name, "sensor_used") == 0) {
        faults->sensor_used = number != 0;
    } else if (strcmp(name, "i2s_no_memory") == 0) {
        faults->i2s_no_memory = number != 0;
    } else if (strcmp(name, "time_scale_milli") == 0) { // not a fault: changes the pace of the clock
        native_run_set_time_scale(number / 1000.0);
    } else if (strcmp(name, "run") == 0) {
        native_clock_run(number);
    } else if (strcmp(name, "jump") == 0) {
        native_run_jump(number);
    } else {
        return false;
    }
    return true;
}

bool native_faults_line(char *line)
{
    char *value = strchr(line, '=');
    uint64_t number = 1;
    if (value != NULL) {
        *value++ = '\0';
        char *end;
        number = strtoull(value, &end, 10);
        if (end == value || *end != '\0') {
            return false;
        }
    }
    return take(line, number);
}

static void receive(void)
{
    static char s_line[LINE_MAX_BYTES];
    static size_t s_length;
    char data[LINE_MAX_BYTES];
    ssize_t length = read(g_native_params.faults_fd, data, sizeof data);
    if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) {
        g_native_params.faults_fd = -1; // closed: no more requests
        return;
    }
    for (ssize_t i = 0; i < length; i++) {
        if (data[i] != '\n' && s_length + 1 < sizeof s_line) {
            s_line[s_length++] = data[i];
            continue;
        }
        s_line[s_length] = '\0';
        s_length = 0;
        if (!native_faults_line(s_line)) {
            fprintf(stderr, "native: unknown fault %s\n", s_line);
        }
    }
}

/* Answers a `run` request, after it has sent all output up to this time. */
static void held(void)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%llu\n", (unsigned long long)native_now_us());
    native_host_flush();
    if (write(g_native_params.faults_fd, line, (size_t)length) != length) {
        native_host_exit(0); // the board has ended
    }
}

static void act(void)
{
    misdeed_t misdeed = s_misdeed;
    s_misdeed = NOTHING;
    if (misdeed == STORE) {
        volatile uint32_t *volatile member =
            (uint32_t *)0x44; // member of a deleted object, as seen on boards
        *member = 1;
    }
    if (misdeed == SPIN_MASKED) {
        portDISABLE_INTERRUPTS();
    }
    while (misdeed != NOTHING) {
        native_consume_us(100); // until a watchdog triggers
    }
}

void native_faults_init(void)
{
    g_native_hooks.act = act;
    g_native_hooks.held = held;
    native_host_set_input((native_host_input_t){.control = receive});
}
