/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's driver/uart_vfs.h. Only UART 0 exists.
 */
#pragma once

#include "esp_vfs_common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sends stdout through the driver's TX ring. As in ESP-IDF, each character is a separate uart_write_bytes(),
 * which takes 32 bytes of the ring: a ring of 4,096 bytes holds 128 characters of stdout. */
void uart_vfs_dev_use_driver(int uart_num);

#ifdef __cplusplus
}
#endif
