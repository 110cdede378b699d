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

/* stdout goes through the driver's TX ring. As in ESP-IDF each character is one uart_write_bytes() of its
 * own, which takes 32 bytes of the ring: 4,096 bytes of ring hold 128 characters of stdout. */
void uart_vfs_dev_use_driver(int uart_num);

#ifdef __cplusplus
}
#endif
