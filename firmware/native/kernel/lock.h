/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Newlib's locks: a mutex of 84 bytes, created at its first use.
 */
#pragma once

#include <stdbool.h>
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"

typedef struct {
    QueueHandle_t mutex;
    bool recursive;
    bool precharged; /* its block is one of the board profile's startup blocks */
} native_lock_t;

void native_lock_acquire(native_lock_t *lock);
void native_lock_release(native_lock_t *lock);
void native_lock_ensure(native_lock_t *lock);
