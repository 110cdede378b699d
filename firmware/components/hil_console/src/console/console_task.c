/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The console's task: bytes from the UART driver, lines to the dispatcher, echo for people.
 */
#include "hil_console.h"

#include <stdbool.h>

#include "console.h"
#include "console_dispatch.h"
#include "driver/uart.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#define CONSOLE_UART ((uart_port_t)CONFIG_ESP_CONSOLE_UART_NUM)

/* How often background work is looked at while there is any. */
#define BACKGROUND_MS 20

/* Long enough for a full transmit ring at 115200 baud. */
#define DRAIN_MS 1000

static TaskHandle_t s_task;

/** People see what they type; '@' is not echoed, so that no input can come back as a record. */
static void echo(const console_line_t *line, char byte, bool ended)
{
    bool request = line->length > 0 && line->bytes[0] == '@';
    if (request || byte == '@') {
        return;
    }
    telemetry_lock();
    if (ended) {
        if (line->length > 0) {
            telemetry_write("\r\n", 2);
        }
    } else if (byte == '\b' || byte == 0x7f) {
        telemetry_write("\b \b", 3);
    } else if (byte >= 0x20 && byte < 0x7f) {
        telemetry_write(&byte, 1);
    }
    telemetry_unlock();
}

static void console_task(void *arg)
{
    static console_line_t s_line;
    (void)arg;
    while (true) {
        TickType_t wait = cmd_heap_background() ? pdMS_TO_TICKS(BACKGROUND_MS) : portMAX_DELAY;
        char byte;
        if (uart_read_bytes(CONSOLE_UART, &byte, 1, wait) != 1) {
            continue;
        }
        bool ended = console_line_feed(&s_line, byte);
        echo(&s_line, byte, ended);
        if (!ended) {
            continue;
        }
        void (*after)(void) = console_dispatch(&s_line);
        console_line_reset(&s_line);
        if (after != NULL) {
            uart_wait_tx_done(CONSOLE_UART, pdMS_TO_TICKS(DRAIN_MS));
            after();
        }
    }
}

esp_err_t hil_console_start(void)
{
    if (s_task != NULL || !uart_is_driver_installed(CONSOLE_UART)) {
        return ESP_ERR_INVALID_STATE;
    }
    BaseType_t made = xTaskCreate(console_task, "hil_console", CONFIG_HOTPIN_HIL_CONSOLE_STACK, NULL,
                                  CONFIG_HOTPIN_HIL_CONSOLE_PRIORITY, &s_task);
    return made == pdPASS ? ESP_OK : ESP_ERR_NO_MEM;
}
