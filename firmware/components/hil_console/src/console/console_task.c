/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Console task: bytes from the UART driver to the line editor, lines to the dispatcher.
 */
#include "hil_console.h"

#include <stdbool.h>
#include <string.h>

#include "console.h"
#include "console_dispatch.h"
#include "console_help.h"
#include "console_output.h"
#include "driver/uart.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "line_editor.h"
#include "sdkconfig.h"

#define CONSOLE_UART ((uart_port_t)CONFIG_ESP_CONSOLE_UART_NUM)

/* Polling interval while there is background work. */
#define BACKGROUND_MS 20

/* Long enough for a full transmit ring at 115200 baud. */
#define DRAIN_MS 1000

static TaskHandle_t s_task;

static const line_editor_io_t EDITOR_IO = {console_output_write, console_complete_line};

/* Both are guarded by the stdout lock, because a task that logs removes the line being typed from the screen,
 * and writes it again afterwards. */
static line_editor_t s_editor = {.io = &EDITOR_IO};
static bool s_is_editing; /* the current output is the edited line itself */

static void hide_line(void)
{
    if (!s_is_editing) {
        const char *text = line_editor_hide(&s_editor);
        if (*text != '\0') {
            telemetry_write(text, strlen(text));
        }
    }
}

static void show_line(void)
{
    line_editor_show(&s_editor);
    console_output_flush();
}

static void begin_editing(void)
{
    telemetry_lock();
    s_is_editing = true;
}

static void end_editing(void)
{
    console_output_flush();
    s_is_editing = false;
    telemetry_unlock();
}

/** @return true if the byte ended a line */
static bool take(char byte)
{
    size_t waiting = 0;
    uart_get_buffered_data_len(CONSOLE_UART, &waiting);
    begin_editing();
    bool ended = line_editor_feed(&s_editor, byte);
    if (!ended && waiting == 0) {
        line_editor_refresh(&s_editor);
    }
    end_editing();
    return ended;
}

static void obey_line(void)
{
    void (*after)(void);
    bool by_program = console_dispatch(&s_editor.line, &after);
    if (after != NULL) {
        uart_wait_tx_done(CONSOLE_UART, pdMS_TO_TICKS(DRAIN_MS));
        after();
    }
    begin_editing();
    line_editor_next(&s_editor, by_program);
    end_editing();
}

static void console_task(void *arg)
{
    (void)arg;
    while (true) {
        TickType_t wait = cmd_heap_background() ? pdMS_TO_TICKS(BACKGROUND_MS) : portMAX_DELAY;
        char byte;
        if (uart_read_bytes(CONSOLE_UART, &byte, 1, wait) == 1 && take(byte)) {
            obey_line();
        }
    }
}

esp_err_t hil_console_start(void)
{
    if (s_task != NULL || !uart_is_driver_installed(CONSOLE_UART)) {
        return ESP_ERR_INVALID_STATE;
    }
    telemetry_set_foreground(hide_line, show_line);
    BaseType_t made = xTaskCreate(console_task, "hil_console", CONFIG_HOTPIN_HIL_CONSOLE_STACK, NULL,
                                  CONFIG_HOTPIN_HIL_CONSOLE_PRIORITY, &s_task);
    return made == pdPASS ? ESP_OK : ESP_ERR_NO_MEM;
}
