/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * calloc() as newlib defines it. It is in a separate file so that, as on the chip, the linker's --wrap of
 * heap_caps_malloc_default() applies to it.
 */
#include <string.h>

#include "heap_caps_native.h"

void *heap_caps_calloc_default(size_t n, size_t size)
{
    size_t bytes;
    if (!heap_caps_native_multiply(n, size, &bytes)) {
        return NULL;
    }
    void *result = heap_caps_malloc_default(bytes);
    if (result != NULL) {
        memset(result, 0, bytes);
    }
    return result;
}
