/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_debug_helpers.h: walking up the stack. The members have the size of a host
 * pointer, 32 bits on the chip.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uintptr_t pc;      //!< On the host, after esp_backtrace_get_next_frame(): an offset into the ELF
    uintptr_t sp;      //!< On the host the frame pointer
    uintptr_t next_pc; //!< Return address of the frame; 0: it is the last frame
    const void *exc_frame;
} esp_backtrace_frame_t;

/* Starts with the function that called the caller of this function. */
void esp_backtrace_get_start(uintptr_t *pc, uintptr_t *sp, uintptr_t *next_pc);

/* Continues with the function that called the frame's function. False: there is none, or the stack is
 * damaged. */
bool esp_backtrace_get_next_frame(esp_backtrace_frame_t *frame);

#ifdef __cplusplus
}
#endif
