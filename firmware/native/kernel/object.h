/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Kernel objects: their handles, and their sizes in the modelled heap.
 */
#pragma once

#include <stddef.h>
#include "esp_heap_caps.h"
#include "sdkconfig.h"

typedef enum {
    NATIVE_TASK = 1,
    NATIVE_QUEUE,
    NATIVE_EVENT_GROUP,
    NATIVE_RING_BUFFER,
    NATIVE_I2S_CHANNEL,
} native_kind_t;

/* A handle is the chip's address of the object's block; its first 8 bytes identify the object. */
void native_object_bind(void *block, native_kind_t kind, void *object);
void *native_object_get(const void *handle, native_kind_t kind, const char *function);
void native_object_unbind(void *block);
/* Allocates zeroed host memory. If the host is out of memory, the process ends. */
void *native_host_alloc(size_t size);
void native_host_free(void *p);

/* Sizes of kernel objects in the ESP32's heap: requested bytes, recorded with ESP-IDF v5.4. */
#define NATIVE_SIZE_TCB(cores) ((cores) == 1 ? 336 : 340) /* one core: no core number */
#define NATIVE_SIZE_QUEUE 84
#define NATIVE_SIZE_EVENT_GROUP 36
#define NATIVE_SIZE_RING_BUFFER 112

/* Cores of the modelled chip that FreeRTOS uses, 1 or 2. */
extern unsigned g_native_cores;

#define NATIVE_KERNEL_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
