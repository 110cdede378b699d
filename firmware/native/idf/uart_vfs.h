/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * stdout's way to the UART; components see it as driver/uart_vfs.h.
 */
#pragma once

#include <stddef.h>

/* The installed driver's way to send one character; used once uart_vfs_dev_use_driver() was called. */
void native_uart_vfs_set_driver(void (*put)(char c));
void native_uart_vfs_write(const char *data, size_t length);
