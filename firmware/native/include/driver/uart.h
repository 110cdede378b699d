/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's driver/uart.h. Only UART 0 exists; its line is the board's serial port.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"
#include "esp_intr_alloc.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "hal/uart_types.h"
#include "soc/soc_caps.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UART_PIN_NO_CHANGE (-1)
#define UART_HW_FIFO_LEN(uart_num) SOC_UART_FIFO_LEN
#define UART_BITRATE_MAX SOC_UART_BITRATE_MAX

typedef struct {
    int baud_rate;
    uart_word_length_t data_bits;
    uart_parity_t parity;
    uart_stop_bits_t stop_bits;
    uart_hw_flowcontrol_t flow_ctrl;
    uint8_t rx_flow_ctrl_thresh;
    union {
        uart_sclk_t source_clk;
    };
    struct {
        uint32_t allow_pd : 1;
        uint32_t backup_before_sleep : 1;
    } flags;
} uart_config_t;

typedef struct {
    uint32_t intr_enable_mask;
    uint8_t rx_timeout_thresh;
    uint8_t txfifo_empty_intr_thresh;
    uint8_t rxfifo_full_thresh;
} uart_intr_config_t;

typedef enum {
    UART_DATA,
    UART_BREAK,
    UART_BUFFER_FULL,
    UART_FIFO_OVF,
    UART_FRAME_ERR,
    UART_PARITY_ERR,
    UART_DATA_BREAK,
    UART_PATTERN_DET,
    UART_EVENT_MAX,
} uart_event_type_t;

typedef struct {
    uart_event_type_t type;
    size_t size;
    bool timeout_flag;
} uart_event_t;

/* As in ESP-IDF, returns ESP_FAIL if an argument is invalid, the driver is installed, or memory is missing.
 * rx_buffer_size must exceed 128; tx_buffer_size must be 0 (writers wait for the FIFO) or exceed 128. */
esp_err_t uart_driver_install(uart_port_t uart_num, int rx_buffer_size, int tx_buffer_size, int queue_size,
                              QueueHandle_t *uart_queue, int intr_alloc_flags);
bool uart_is_driver_installed(uart_port_t uart_num);
esp_err_t uart_wait_tx_done(uart_port_t uart_num, TickType_t ticks_to_wait);
esp_err_t uart_wait_tx_idle_polling(uart_port_t uart_num);
/* Blocks until all bytes are in the ring or, without a ring, in the FIFO. Returns their number, or -1 on an
 * error. */
int uart_write_bytes(uart_port_t uart_num, const void *src, size_t size);
/* Returns the number of bytes read before the timeout (0: none), or -1 on an error. */
int uart_read_bytes(uart_port_t uart_num, void *buf, uint32_t length, TickType_t ticks_to_wait);
esp_err_t uart_get_tx_buffer_free_size(uart_port_t uart_num, size_t *size);

esp_err_t uart_get_buffered_data_len(uart_port_t uart_num, size_t *size);

#ifdef __cplusplus
}
#endif
