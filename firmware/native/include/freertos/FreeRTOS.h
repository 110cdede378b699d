/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of FreeRTOS.h.
 *
 * The Static*_t objects only have to be large enough for this runtime's objects; no code may depend on their
 * size. A kernel object is charged to the modelled heap with its size on the ESP32, no matter where the
 * host's object is.
 */
#pragma once

#define INC_FREERTOS_H

#include <stddef.h>
#include <stdint.h>
#include "freertos/FreeRTOSConfig.h"
#include "freertos/portmacro.h"
#include "freertos/projdefs.h"

#define PRIVILEGED_FUNCTION
#define PRIVILEGED_DATA

typedef struct {
    uint64_t opaque[2];
} StaticTask_t;

typedef struct {
    uint64_t opaque[2];
} StaticQueue_t;

typedef StaticQueue_t StaticSemaphore_t;

typedef struct {
    uint64_t opaque[2];
} StaticEventGroup_t;

typedef struct {
    uint64_t opaque[2];
} StaticTimer_t;

typedef struct {
    uint64_t opaque[2];
} StaticStreamBuffer_t;

typedef StaticStreamBuffer_t StaticMessageBuffer_t;

/* ESP-IDF's FreeRTOS.h includes its additions. */
#include "freertos/task.h"
#include "freertos/idf_additions.h"
