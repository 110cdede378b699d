/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Output of stdout to the UART; driver/uart_vfs.h is the interface for components.
 */
#pragma once

#include <stddef.h>

/* Sets the driver's function that sends one character; it is used after uart_vfs_dev_use_driver(). */
void native_uart_vfs_set_driver(void (*put)(char c));
void native_uart_vfs_write(const char *data, size_t length);
