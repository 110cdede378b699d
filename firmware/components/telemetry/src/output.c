/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Writes stdout to the UART driver in large pieces.
 *
 * ESP-IDF's VFS passes stdout's characters to the driver one by one. The driver stores two items in its ring
 * for each write: a 12-byte description and the data, each with an 8-byte header. So a character takes
 * 32 bytes, and a 4 KB ring is full after 128 characters: a statistics box would delay every other task's
 * line by 230 ms. In pieces of up to 512 bytes the box takes about 3 KB of the ring, which leaves room for
 * log lines.
 */
#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include "driver/uart.h"
#include "driver/uart_vfs.h"
#include "esp_check.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"
#include "telemetry.h"

#define CONSOLE_UART CONFIG_ESP_CONSOLE_UART_NUM
#define RX_RING_SIZE 256 /* more than one request of 240 bytes */
#define RING_COST_OF_WRITE \
    (8 + 12 + 8 + 3) /* item headers, description, rounding: esp_driver_uart, uart_tx_all() */
#define LOG_LINE_SIZE 256

static const char *TAG = "telemetry";

/* All guarded by the stdout lock after init. */
static char s_scratch[TELEMETRY_SCRATCH_SIZE];
static char s_log_line[LOG_LINE_SIZE];
static size_t s_ring_capacity; /* largest free size that the driver reports; 0: no driver */
static vprintf_like_t s_default_vprintf;

#if CONFIG_HOTPIN_HIL_CONSOLE
static struct {
    void (*hide)(void);
    void (*show)(void);
    unsigned lock_depth;
    bool is_hidden;
} s_foreground;

void telemetry_set_foreground(void (*hide)(void), void (*show)(void))
{
    telemetry_lock();
    s_foreground.hide = hide;
    s_foreground.show = show;
    telemetry_unlock();
}
#endif

/** Called before the first byte written under the lock. */
static void hide_foreground(void)
{
#if CONFIG_HOTPIN_HIL_CONSOLE
    if (s_foreground.hide != NULL && !s_foreground.is_hidden) {
        s_foreground.is_hidden = true; /* set first, because hide() also writes */
        s_foreground.hide();
    }
#endif
}

void telemetry_lock(void)
{
    flockfile(stdout);
#if CONFIG_HOTPIN_HIL_CONSOLE
    s_foreground.lock_depth++;
#endif
}

void telemetry_unlock(void)
{
#if CONFIG_HOTPIN_HIL_CONSOLE
    if (s_foreground.lock_depth == 1 && s_foreground.is_hidden) {
        s_foreground.show();
        s_foreground.is_hidden = false;
    }
    s_foreground.lock_depth--;
#endif
    funlockfile(stdout);
}

char *telemetry_scratch(void)
{
    return s_scratch;
}

void telemetry_write(const char *text, size_t len)
{
    hide_foreground();
    if (s_ring_capacity == 0) {
        fwrite(text, 1, len, stdout);
        fflush(stdout);
        return;
    }
    fflush(stdout); /* write out any partial line still in the stdio buffer */
    /* Block instead of spinning while the UART TX ring is full. The driver itself would busy-wait for room
     * (uart_tx_all() since ESP-IDF v5.4.4 and v5.5.2), which would starve the idle task and other tasks of
     * lower priority. */
    while (!telemetry_has_room(len)) {
        vTaskDelay(1);
    }
    uart_write_bytes(CONSOLE_UART, text, len);
}

bool telemetry_has_room(size_t len)
{
    size_t free_size = 0;
    if (s_ring_capacity == 0 || uart_get_tx_buffer_free_size(CONSOLE_UART, &free_size) != ESP_OK) {
        return true; /* without the driver there is no ring to wait for */
    }
    size_t needed = len + (len / TELEMETRY_SCRATCH_SIZE + 1) * RING_COST_OF_WRITE;
    return free_size >= (needed < s_ring_capacity ? needed : s_ring_capacity);
}

/*
 * vprintf for ESP_LOGx: formats the line under the lock, then writes it in one piece. Unlike vprintf, it
 * needs the caller's stack for formatting and writing one after the other, not at the same time.
 */
static int log_vprintf(const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    telemetry_lock();
    int len = vsnprintf(s_log_line, sizeof(s_log_line) - 1, format, args); /* one byte left for '\r' */
    if (len > 0 && (size_t)len < sizeof(s_log_line) - 1) {
        if (s_log_line[len - 1] == '\n') {
            s_log_line[len - 1] = '\r';
            s_log_line[len++] = '\n';
        }
        telemetry_write(s_log_line, (size_t)len);
    } else {
        hide_foreground();
        len = s_default_vprintf(format, again);
    }
    telemetry_unlock();
    va_end(again);
    return len;
}

esp_err_t telemetry_output_init(void)
{
    /* Installing the driver discards data in the hardware FIFO. */
    fflush(stdout);
    uart_wait_tx_idle_polling(CONSOLE_UART);
    ESP_RETURN_ON_ERROR(
        uart_driver_install(CONSOLE_UART, RX_RING_SIZE, CONFIG_HOTPIN_UART_TX_RING, 0, NULL, 0), TAG,
        "no driver for UART %d", CONSOLE_UART);
    uart_vfs_dev_use_driver(CONSOLE_UART);
    ESP_RETURN_ON_ERROR(uart_get_tx_buffer_free_size(CONSOLE_UART, &s_ring_capacity), TAG,
                        "UART %d has no ring", CONSOLE_UART);
    s_default_vprintf = esp_log_set_vprintf(log_vprintf);
    return ESP_OK;
}
