/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * FreeRTOS on pthreads, as much of it as the state manager uses. A tick is TICK_US of the host's time.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TICK_US 20

typedef uint32_t TickType_t;
typedef int BaseType_t;
typedef unsigned UBaseType_t;

#define pdTRUE 1
#define pdFALSE 0
#define pdPASS 1
#define configMAX_TASK_NAME_LEN 16
#define portMAX_DELAY 0xFFFFFFFFU
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms))

/* A mutex, a mailbox or an event group: all of them wait for one condition. */
typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t bits; /* mutex: 1 when taken; mailbox: 1 when full */
    unsigned char item[16];
    unsigned size;
    pthread_t owner;
} fake_object_t;
typedef fake_object_t StaticSemaphore_t, StaticQueue_t, StaticEventGroup_t;
typedef fake_object_t *SemaphoreHandle_t, *QueueHandle_t, *EventGroupHandle_t;
