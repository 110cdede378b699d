/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * FreeRTOS on pthreads, as much of it as the monitor task uses: for the race tests.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef uint32_t TickType_t;
typedef int BaseType_t;
typedef unsigned UBaseType_t;
typedef pthread_mutex_t portMUX_TYPE;

#define pdTRUE 1
#define pdPASS 1
#define pdFAIL 0
#define portMAX_DELAY 0xFFFFFFFFU
#define configTICK_RATE_HZ 1000
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms))
#define portMUX_INITIALIZER_UNLOCKED PTHREAD_MUTEX_INITIALIZER
/* Delays the caller sometimes, so that other tasks run between its critical sections. */
void fake_pause(void);
#define taskENTER_CRITICAL(mux) (fake_pause(), pthread_mutex_lock(mux))
#define taskEXIT_CRITICAL(mux) pthread_mutex_unlock(mux)
