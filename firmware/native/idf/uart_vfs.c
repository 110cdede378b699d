/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Writes stdout to the UART, through the driver or by polling. Lines end in CR LF, ESP-IDF's default.
 */
#include "idf/uart_vfs.h"

#include "chip/uart.h"
#include "driver/uart_vfs.h"
#include "kernel/clock.h"
#include "kernel/lock.h"
#include "kernel/run.h"
#include "kernel/task.h"

#define WRITE_CALL_US 20 /* CPU time of a write to the console, including formatting */

static struct {
    native_lock_t read_lock;
    native_lock_t write_lock;
    bool use_driver;
    void (*put)(char c);
} s_vfs = {
    .read_lock = {.recursive = true},
    .write_lock = {.recursive = true, .precharged = true},
};

void native_uart_vfs_set_driver(void (*put)(char c))
{
    s_vfs.put = put;
}

static void vfs_use(bool driver)
{
    native_lock_acquire(&s_vfs.read_lock);
    native_lock_acquire(&s_vfs.write_lock);
    s_vfs.use_driver = driver;
    native_lock_release(&s_vfs.write_lock);
    native_lock_release(&s_vfs.read_lock);
}

void uart_vfs_dev_use_driver(int uart_num)
{
    if (uart_num == 0) {
        vfs_use(true);
    }
}

static void vfs_put(char c)
{
    if (s_vfs.use_driver && s_vfs.put != NULL && !native_in_isr() && !native_in_critical()) {
        s_vfs.put(c);
    } else {
        native_uart_put_polling(c);
    }
}

void native_uart_vfs_write(const char *data, size_t length)
{
    native_consume_us(WRITE_CALL_US);
    native_lock_acquire(&s_vfs.write_lock);
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\n') {
            vfs_put('\r');
        }
        vfs_put(data[i]);
    }
    native_lock_release(&s_vfs.write_lock);
}
