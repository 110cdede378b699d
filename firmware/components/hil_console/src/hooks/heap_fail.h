/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Makes allocations fail on purpose. In HIL builds the linker's --wrap (wrap.cmake) puts wrappers around the
 * heap_caps_* functions, so no component under test contains a hook. malloc(), calloc() and realloc() count
 * as requests for MALLOC_CAP_DEFAULT. Calls inside the heap component itself, such as those of
 * heap_caps_malloc_prefer(), bypass the wrappers and never fail on purpose.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    bool armed;
    uint32_t seen;   /*!< matching allocations since heap_fail_arm() */
    uint32_t failed; /*!< how many of those were made to fail */
} heap_fail_state_t;

/**
 * @brief Makes allocations fail. From now on, counts the allocations that request all of `caps` (0: any
 * allocation), from 1. Number `nth`, the next `count - 1` and number `also` (0: none) return NULL. As with a
 * real failure, the failed-allocation callback is called.
 */
void heap_fail_arm(uint32_t caps, uint32_t nth, uint32_t count, uint32_t also);

void heap_fail_disarm(void);

heap_fail_state_t heap_fail_get_state(void);

/**
 * heap_caps_malloc() for the console's own use. It is not counted and never made to fail, and a real failure
 * is not reported to the failed-allocation callback.
 */
void *heap_fail_quiet_malloc(size_t size, uint32_t caps);
