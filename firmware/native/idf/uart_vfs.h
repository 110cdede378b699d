/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Output of stdout to the UART; components see it as driver/uart_vfs.h.
 */
#pragma once

#include <stddef.h>

/* Function of the installed driver that sends one character; used after uart_vfs_dev_use_driver(). */
void native_uart_vfs_set_driver(void (*put)(char c));
void native_uart_vfs_write(const char *data, size_t length);
