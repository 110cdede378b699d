/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Allocations that fail on purpose. The linker's --wrap (wrap.cmake) puts these functions in front of the
 * heap_caps_* ones in HIL builds: no component under test carries a hook. Calls inside the heap component
 * itself (plain malloc, heap_caps_malloc_prefer) bypass the wrappers and never fail on purpose.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    bool armed;
    uint32_t seen;   /*!< matching allocations since it was armed */
    uint32_t failed; /*!< of these, made to fail */
} heap_fail_state_t;

/**
 * @brief From now on, of the allocations with all of `caps` (0: any), the `nth` (from 1), the `count - 1`
 * after it and the one of number `also` (0: none) return NULL. The failed-allocation callback is called as
 * the real allocator does.
 */
void heap_fail_arm(uint32_t caps, uint32_t nth, uint32_t count, uint32_t also);

void heap_fail_disarm(void);

heap_fail_state_t heap_fail_get_state(void);

/**
 * heap_caps_malloc() for the console's own use: not counted, never made to fail, and a real failure is not
 * reported to the failed-allocation callback.
 */
void *heap_fail_quiet_malloc(size_t size, uint32_t caps);
