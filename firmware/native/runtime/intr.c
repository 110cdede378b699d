/* Interrupts, as far as they take memory: ESP-IDF's handle, the description of the interrupt line, and that
 * of a shared source. The description stays when the interrupt is freed, and serves the next one. */
#include "native.h"

#define SIZE_HANDLE 8
#define SIZE_VECTOR 16
#define SIZE_SHARED_VECTOR 24

struct native_intr {
    void *handle;
    void *shared;
};

static unsigned s_idle_vectors; /* descriptions of lines that nobody uses now */

native_intr_t *native_intr_alloc(bool shared)
{
    void *handle = heap_caps_malloc(SIZE_HANDLE, NATIVE_KERNEL_CAPS);
    if (handle == NULL) {
        return NULL;
    }
    if (s_idle_vectors == 0) {
        if (heap_caps_malloc(SIZE_VECTOR, NATIVE_KERNEL_CAPS) == NULL) {
            heap_caps_free(handle);
            return NULL;
        }
        s_idle_vectors++;
    }
    void *shared_vector = shared ? heap_caps_malloc(SIZE_SHARED_VECTOR, NATIVE_KERNEL_CAPS) : NULL;
    if (shared && shared_vector == NULL) {
        heap_caps_free(handle);
        return NULL;
    }
    s_idle_vectors--;
    native_intr_t *intr = native_host_alloc(sizeof *intr);
    intr->handle = handle;
    intr->shared = shared_vector;
    return intr;
}

void native_intr_free(native_intr_t *intr)
{
    if (intr == NULL) {
        return;
    }
    s_idle_vectors++;
    heap_caps_free(intr->shared);
    heap_caps_free(intr->handle);
    native_host_free(intr);
}
