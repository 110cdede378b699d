/* Host stand-in for ESP-IDF's driver/uart_vfs.h. Only UART 0 exists. */
#pragma once

#include "esp_vfs_common.h"

#ifdef __cplusplus
extern "C" {
#endif

void uart_vfs_dev_register(void);
/* 0, or -1 when uart_num is not UART 0. */
int uart_vfs_dev_port_set_rx_line_endings(int uart_num, esp_line_endings_t mode);
int uart_vfs_dev_port_set_tx_line_endings(int uart_num, esp_line_endings_t mode);
/* stdout writes to the FIFO again, byte by byte, as before the driver. */
void uart_vfs_dev_use_nonblocking(int uart_num);
/* stdout goes through the driver's TX ring. As in ESP-IDF each character is one uart_write_bytes() of its
 * own, which takes 32 bytes of the ring: 4,096 bytes of ring hold 128 characters of stdout. */
void uart_vfs_dev_use_driver(int uart_num);

#ifdef __cplusplus
}
#endif
