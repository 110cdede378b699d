/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * UART 0: its FIFOs and its serial line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NATIVE_UART_FIFO_BYTES 128
#define NATIVE_UART_RX_CHUNK 120 /* RX FIFO full threshold of ESP-IDF */

/* Receiver of bytes. Without a receiver, bytes stay in the FIFO, and those that do not fit are lost. */
typedef struct {
    /* Number of bytes that can be received now. */
    size_t (*room)(void);
    /* Called in interrupt context. */
    void (*receive)(const uint8_t *data, size_t length);
} native_uart_receiver_t;

void native_uart_init(void);
/* Sets the receiver and passes it the content of the FIFO. */
void native_uart_set_receiver(native_uart_receiver_t receiver);
/* Removes the sent bytes from the transmit FIFO. */
void native_uart_settle(void);
/* Free bytes of the transmit FIFO. */
uint32_t native_uart_room(void);
/* Virtual time, in us, when at most `level` bytes are left in the transmit FIFO. */
uint64_t native_uart_level_reached_us(uint32_t level);
void native_uart_put(uint8_t byte);
/* Sends the bytes to the host now. Does nothing if the UART is paced (uart_paced): then each byte of
 * native_uart_put() is sent when it leaves the FIFO. */
void native_uart_hand_over(const void *data, size_t length);
/* Sends one character without a driver, as the ROM does; busy-waits for the FIFO. */
void native_uart_put_polling(char c);
/* Busy-waits until the transmit FIFO is empty. */
void native_uart_wait_idle_polling(void);
