/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory of interrupts: ESP-IDF's handle, the descriptor of the interrupt line, and the descriptor of each
 * user of a shared source. Users of one source share its line. A line's descriptor is never freed: after its
 * last user has released it, the next source reuses it.
 */
#include "drivers/intr.h"

#include "esp_heap_caps.h"
#include "kernel/object.h"

#define SIZE_HANDLE 8
#define SIZE_LINE 16
#define SIZE_SHARED 24

struct native_intr {
    native_intr_source_t source;
    void *handle;
    void *shared;
};

static unsigned s_idle_lines;                 /* lines with a descriptor that no source uses */
static unsigned s_users[NATIVE_INTR_SOURCES]; /* number of users of each shared source */

static bool is_shared(native_intr_source_t source)
{
    return source != NATIVE_INTR_NOT_SHARED;
}

native_intr_t *native_intr_alloc(native_intr_source_t source)
{
    void *handle = heap_caps_malloc(SIZE_HANDLE, NATIVE_KERNEL_CAPS);
    if (handle == NULL) {
        return NULL;
    }
    bool needs_line = !is_shared(source) || s_users[source] == 0;
    if (needs_line && s_idle_lines == 0) {
        if (heap_caps_malloc(SIZE_LINE, NATIVE_KERNEL_CAPS) == NULL) {
            heap_caps_free(handle);
            return NULL;
        }
        s_idle_lines++;
    }
    void *shared = is_shared(source) ? heap_caps_malloc(SIZE_SHARED, NATIVE_KERNEL_CAPS) : NULL;
    if (is_shared(source) && shared == NULL) {
        heap_caps_free(handle);
        return NULL;
    }
    s_idle_lines -= needs_line;
    s_users[source] += is_shared(source);
    native_intr_t *intr = native_host_alloc(sizeof *intr);
    *intr = (native_intr_t){.source = source, .handle = handle, .shared = shared};
    return intr;
}

void native_intr_free(native_intr_t *intr)
{
    if (intr == NULL) {
        return;
    }
    s_users[intr->source] -= is_shared(intr->source);
    s_idle_lines += s_users[intr->source] == 0;
    heap_caps_free(intr->shared);
    heap_caps_free(intr->handle);
    native_host_free(intr);
}
