/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Walks up the stack by frame pointers; all code of the host build is compiled with them. On both x86-64 and
 * AArch64, a frame pointer points to the caller's frame pointer, and the return address follows it.
 */
#include "esp_debug_helpers.h"

#include "idf/code_address.h"
#include "kernel/task.h"

typedef struct stack_frame {
    const struct stack_frame *caller;
    uintptr_t return_address;
} stack_frame_t;

/* The C library's functions that start a thread have no frame pointers, so every value is checked before it
 * is used.
 */
static bool is_frame_above(const stack_frame_t *frame, const stack_frame_t *below)
{
    return frame > below && ((uintptr_t)frame & (sizeof(void *) - 1)) == 0 &&
           native_in_stack((uintptr_t)(frame + 1));
}

/* Return address of a frame; 0: the frame is invalid. */
static uintptr_t return_of(const stack_frame_t *frame, const stack_frame_t *below)
{
    return is_frame_above(frame, below) && native_is_code(frame->return_address) ? frame->return_address : 0;
}

void __attribute__((noinline)) esp_backtrace_get_start(uintptr_t *pc, uintptr_t *sp, uintptr_t *next_pc)
{
    const stack_frame_t *own = __builtin_frame_address(0);
    const stack_frame_t *caller = own->caller;
    *pc = return_of(caller, own);
    *sp = *pc != 0 ? (uintptr_t)caller->caller : 0;
    *next_pc = *pc != 0 ? return_of(caller->caller, caller) : 0;
}

bool esp_backtrace_get_next_frame(esp_backtrace_frame_t *frame)
{
    if (frame->next_pc == 0) {
        return false;
    }
    const stack_frame_t *below = (const stack_frame_t *)frame->sp;
    frame->pc = native_code_offset(frame->next_pc);
    frame->sp = (uintptr_t)below->caller;
    frame->next_pc = return_of(below->caller, below);
    return true;
}
