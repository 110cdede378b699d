/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory of interrupts: ESP-IDF's handle, its vector descriptor, and that of a shared source.
 */
#include "drivers/intr.h"

#include "esp_heap_caps.h"
#include "kernel/object.h"

#define SIZE_HANDLE 8
#define SIZE_VECTOR 16
#define SIZE_SHARED_VECTOR 24

struct native_intr {
    void *handle;
    void *shared;
};

static bool s_has_vector[NATIVE_INTR_SOURCES];

native_intr_t *native_intr_alloc(unsigned source, bool shared)
{
    void *handle = heap_caps_malloc(SIZE_HANDLE, NATIVE_KERNEL_CAPS);
    if (handle == NULL) {
        return NULL;
    }
    if (!s_has_vector[source]) {
        s_has_vector[source] = heap_caps_malloc(SIZE_VECTOR, NATIVE_KERNEL_CAPS) != NULL;
        if (!s_has_vector[source]) {
            heap_caps_free(handle);
            return NULL;
        }
    }
    void *shared_vector = shared ? heap_caps_malloc(SIZE_SHARED_VECTOR, NATIVE_KERNEL_CAPS) : NULL;
    if (shared && shared_vector == NULL) {
        heap_caps_free(handle);
        return NULL;
    }
    native_intr_t *intr = native_host_alloc(sizeof *intr);
    intr->handle = handle;
    intr->shared = shared_vector;
    return intr;
}

void native_intr_free(native_intr_t *intr)
{
    heap_caps_free(intr->shared);
    heap_caps_free(intr->handle);
    native_host_free(intr);
}
