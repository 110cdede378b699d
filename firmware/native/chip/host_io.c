/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The host's side of UART 0: fd 0 is RX, fd 1 is TX.
 */
#include "chip/host_io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "chip/params.h"
#include "kernel/run.h"

#define RX_CHUNK 4096

static char s_out[8192];
static size_t s_out_length;
static native_host_input_t s_input;

void native_host_set_input(native_host_input_t input)
{
    s_input.room = input.room != NULL ? input.room : s_input.room;
    s_input.receive = input.receive != NULL ? input.receive : s_input.receive;
    s_input.control = input.control != NULL ? input.control : s_input.control;
}

int64_t native_host_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void native_host_exit(int status)
{
    native_host_flush();
    _exit(status);
}

void native_host_write_raw(const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(1, data, length);
        if (written > 0) {
            data += written;
            length -= (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            struct pollfd fd = {.fd = 1, .events = POLLOUT};
            poll(&fd, 1, -1);
        } else if (written < 0 && errno != EINTR) {
            _exit(0); // the board's process has ended
        }
    }
}

void native_host_flush(void)
{
    size_t length = s_out_length;
    s_out_length = 0;
    native_host_write_raw(s_out, length);
}

void native_host_write(const void *data, size_t length)
{
    while (length > 0) {
        size_t part = sizeof s_out - s_out_length;
        part = length < part ? length : part;
        memcpy(s_out + s_out_length, data, part);
        s_out_length += part;
        data = (const char *)data + part;
        length -= part;
        if (s_out_length == sizeof s_out) {
            native_host_flush();
        }
    }
}

bool native_host_poll(int64_t timeout_ns)
{
    native_host_flush();
    size_t room = native_clock_stands() ? 0 : s_input.room();
    struct pollfd fds[] = {
        {.fd = room > 0 ? 0 : -1, .events = POLLIN}, // -1: no room, so leave the input in the socket
        {.fd = g_native_params.faults_fd, .events = POLLIN},
    };
    struct timespec time = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    if (ppoll(fds, 2, timeout_ns < 0 ? NULL : &time, NULL) <= 0) {
        return false;
    }
    if (fds[1].revents != 0) {
        native_clock_input_arrived();
        s_input.control();
    }
    if (fds[0].revents == 0) {
        return fds[1].revents != 0;
    }
    uint8_t data[RX_CHUNK];
    ssize_t length = read(0, data, room < sizeof data ? room : sizeof data);
    if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) {
        native_host_exit(0); // the board has closed the line, which means power off
    }
    if (length < 0) {
        return false;
    }
    native_clock_input_arrived();
    s_input.receive(data, (size_t)length);
    return true;
}
