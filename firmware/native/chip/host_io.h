/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The host's side of the UART line: fd 0 is RX, fd 1 is TX.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    /* Number of input bytes that can be received now. */
    size_t (*room)(void);
    void (*receive)(const uint8_t *data, size_t length);
    /* Reads from the control socket. */
    void (*control)(void);
} native_host_input_t;

/* Sets the receivers of input; a NULL member keeps its former value. */
void native_host_set_input(native_host_input_t input);
void native_host_write(const void *data, size_t length);
void native_host_flush(void);
/* Waits at most timeout_ns (0: polls) for input and passes it to the receiver. True if input was received. */
bool native_host_poll(int64_t timeout_ns);
int64_t native_host_now_ns(void);
/* Writes without buffering; async-signal-safe. */
void native_host_write_raw(const char *data, size_t length);
void native_host_exit(int status) __attribute__((noreturn));
