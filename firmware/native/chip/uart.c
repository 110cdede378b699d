/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * UART 0: its FIFOs and its serial line, in virtual time.
 *
 * Bytes leave the transmit FIFO at the baud rate; a writer spins until the FIFO has room. The host gets a
 * byte when the firmware writes it, or, paced, when it leaves the FIFO.
 */
#include "chip/uart.h"

#include <string.h>
#include "chip/host_io.h"
#include "chip/params.h"
#include "kernel/clock.h"
#include "kernel/run.h"
#include "sdkconfig.h"

#define FIFO_BYTES NATIVE_UART_FIFO_BYTES
#define RX_LINE_BYTES 4096 /* paced: bytes that have not reached the FIFO yet */
#define RX_TIMEOUT_BYTES 2
#define BITS_PER_BYTE 10

static struct {
    uint32_t fifo_level;
    uint64_t fifo_since_ns; // start time of the transmission of the FIFO's first byte
    uint8_t fifo[FIFO_BYTES];
    uint32_t fifo_first;
    native_event_t tx_drained; // paced: passes the bytes that have left the FIFO to the host
    uint8_t rx_line[RX_LINE_BYTES];
    size_t rx_line_length;
    native_event_t rx_arrived;
    uint8_t rx_fifo[FIFO_BYTES];
    size_t rx_fifo_length;
    native_uart_receiver_t receiver;
} s_uart;

static uint64_t byte_ns(void)
{
    return BITS_PER_BYTE * 1000000000ull / CONFIG_ESP_CONSOLE_UART_BAUDRATE;
}

static uint64_t now_ns(void)
{
    return native_now_us() * 1000;
}

void native_uart_settle(void)
{
    if (s_uart.fifo_level == 0) {
        s_uart.fifo_since_ns = now_ns();
        return;
    }
    uint64_t gone = (now_ns() - s_uart.fifo_since_ns) / byte_ns();
    gone = gone > s_uart.fifo_level ? s_uart.fifo_level : gone;
    for (uint64_t i = 0; i < gone; i++) {
        if (g_native_params.uart_paced) {
            native_host_write(&s_uart.fifo[s_uart.fifo_first], 1);
        }
        s_uart.fifo_first = (s_uart.fifo_first + 1) % FIFO_BYTES;
    }
    s_uart.fifo_level -= (uint32_t)gone;
    if (g_native_params.uart_paced && s_uart.fifo_level == 0) {
        native_host_flush(); /* so that the host gets it even if the firmware hangs */
    }
    s_uart.fifo_since_ns = s_uart.fifo_level == 0 ? now_ns() : s_uart.fifo_since_ns + gone * byte_ns();
}

uint64_t native_uart_level_reached_us(uint32_t level)
{
    if (s_uart.fifo_level <= level) {
        return native_now_us();
    }
    return (s_uart.fifo_since_ns + (s_uart.fifo_level - level) * byte_ns() + 999) / 1000;
}

void native_uart_put(uint8_t byte)
{
    s_uart.fifo[(s_uart.fifo_first + s_uart.fifo_level) % FIFO_BYTES] = byte;
    s_uart.fifo_level++;
    if (g_native_params.uart_paced && !s_uart.tx_drained.armed) {
        native_event_arm(&s_uart.tx_drained, native_uart_level_reached_us(0));
    }
}

static void on_tx_drained(native_event_t *event)
{
    native_uart_settle();
    if (s_uart.fifo_level > 0) {
        native_event_arm(event, native_uart_level_reached_us(0));
    }
}

uint32_t native_uart_room(void)
{
    native_uart_settle();
    return FIFO_BYTES - s_uart.fifo_level;
}

void native_uart_hand_over(const void *data, size_t length)
{
    if (!g_native_params.uart_paced) {
        native_host_write(data, length);
    }
}

void native_uart_put_polling(char c)
{
    while (native_uart_room() < 2) {
        native_consume_us(native_uart_level_reached_us(FIFO_BYTES - 2) - native_now_us());
    }
    native_uart_put((uint8_t)c);
    native_uart_hand_over(&c, 1);
}

void native_uart_wait_idle_polling(void)
{
    native_uart_settle();
    while (s_uart.fifo_level > 0) {
        native_consume_us(native_uart_level_reached_us(0) - native_now_us());
        native_uart_settle();
    }
}

/* --- Receiving --- */

/* Passes bytes from the line to the receiver or, without a receiver, into the FIFO. */
static void take(const uint8_t *data, size_t length)
{
    if (s_uart.receiver.receive != NULL) {
        s_uart.receiver.receive(data, length);
        return;
    }
    size_t room = FIFO_BYTES - s_uart.rx_fifo_length;
    length = length < room ? length : room;
    memcpy(s_uart.rx_fifo + s_uart.rx_fifo_length, data, length);
    s_uart.rx_fifo_length += length;
}

void native_uart_set_receiver(native_uart_receiver_t receiver)
{
    s_uart.receiver = receiver;
    size_t early = s_uart.rx_fifo_length;
    s_uart.rx_fifo_length = 0;
    if (early > 0) {
        native_isr_enter();
        take(s_uart.rx_fifo, early);
        native_isr_exit();
    }
}

static void on_rx_arrived(native_event_t *event)
{
    (void)event;
    size_t part = s_uart.rx_line_length < NATIVE_UART_RX_CHUNK ? s_uart.rx_line_length : NATIVE_UART_RX_CHUNK;
    take(s_uart.rx_line, part);
    s_uart.rx_line_length -= part;
    memmove(s_uart.rx_line, s_uart.rx_line + part, s_uart.rx_line_length);
    if (s_uart.rx_line_length > 0) {
        size_t next =
            s_uart.rx_line_length < NATIVE_UART_RX_CHUNK ? s_uart.rx_line_length : NATIVE_UART_RX_CHUNK;
        native_event_arm(&s_uart.rx_arrived, native_now_us() + next * byte_ns() / 1000);
    }
}

/* Room for received bytes. An unpaced line without room blocks the host, so no byte is lost. A paced line
 * never blocks the host. */
static size_t rx_room(void)
{
    if (g_native_params.uart_paced) {
        return RX_LINE_BYTES - s_uart.rx_line_length;
    }
    if (s_uart.receiver.room == NULL) {
        return FIFO_BYTES - s_uart.rx_fifo_length;
    }
    return s_uart.receiver.room();
}

static void receive_from_host(const uint8_t *data, size_t length)
{
    native_isr_enter();
    if (g_native_params.uart_paced) {
        memcpy(s_uart.rx_line + s_uart.rx_line_length, data, length);
        s_uart.rx_line_length += length;
        if (!s_uart.rx_arrived.armed) {
            size_t first = length < NATIVE_UART_RX_CHUNK ? length + RX_TIMEOUT_BYTES : NATIVE_UART_RX_CHUNK;
            native_event_arm(&s_uart.rx_arrived, native_now_us() + first * byte_ns() / 1000);
        }
    } else {
        take(data, length);
    }
    native_isr_exit();
}

void native_uart_init(void)
{
    s_uart.tx_drained.fire = on_tx_drained;
    s_uart.rx_arrived.fire = on_rx_arrived;
    native_host_set_input((native_host_input_t){.room = rx_room, .receive = receive_from_host});
}
