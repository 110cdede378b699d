/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * UART 0: FIFOs and line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NATIVE_UART_FIFO_BYTES 128
#define NATIVE_UART_RX_CHUNK 120 /* RX FIFO full threshold of ESP-IDF */

/* Where received bytes go; without a receiver they stay in the FIFO, and what does not fit is lost. */
typedef struct {
    /* Bytes that can be taken now. */
    size_t (*room)(void);
    /* Called as an interrupt. */
    void (*receive)(const uint8_t *data, size_t length);
} native_uart_receiver_t;

void native_uart_init(void);
/* Hands over what the FIFO already holds. */
void native_uart_set_receiver(native_uart_receiver_t receiver);
/* Takes what has left the transmit FIFO out of it. */
void native_uart_settle(void);
/* Free bytes of the transmit FIFO. */
uint32_t native_uart_room(void);
/* Virtual time, us, at which no more than `level` bytes are left in the transmit FIFO. */
uint64_t native_uart_level_reached_us(uint32_t level);
void native_uart_put(uint8_t byte);
/* The host gets the bytes now, unless the line is paced: then when they leave the FIFO. */
void native_uart_hand_over(const void *data, size_t length);
/* One character by the ROM or without a driver: waits for the FIFO, busy. */
void native_uart_put_polling(char c);
/* Busy until the transmit FIFO is empty. */
void native_uart_wait_idle_polling(void);
