/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * ESP-IDF v5.4's heap_caps_base.c: the functions that all allocations and frees call. It uses one system
 * of heaps, with memory at the chip's addresses.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "esp_heap_caps.h"
#include "heap_caps_private.h"

static heap_system_t *s_system;
static heap_caps_panic_t s_panic;
static bool s_locked;

/* --- State --- */

void heap_base_init(heap_system_t *system)
{
    s_system = system;
    s_locked = false;
}

heap_system_t *heap_caps_native_system(void)
{
    return s_system;
}

void heap_caps_native_set_panic(heap_caps_panic_t panic)
{
    s_panic = panic;
}

bool heap_caps_native_locked(void)
{
    return s_locked;
}

void heap_lock_for_walk(bool locked)
{
    s_locked = locked;
}

/* --- Panics --- */

void heap_panic(const char *found, const char *assertion, const char *note)
{
    s_locked = false;
    if (s_panic != NULL) {
        s_panic(found, assertion, note);
    }
    fprintf(stderr, "%s\nassert failed: %s\n%s\n", found != NULL ? found : "", assertion,
            note != NULL ? note : "");
    abort();
}

/* Panics with the line and assert of ESP-IDF's light poisoning; the model detects the same damage. */
static void __attribute__((noreturn, format(printf, 1, 2))) panic_corrupt(const char *format, ...)
{
    char found[192] = "CORRUPT HEAP: ";
    size_t prefix = strlen(found);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found + prefix, sizeof(found) - prefix, format, arguments);
    va_end(arguments);
    heap_panic(found, "multi_heap_free multi_heap_poisoning.c:279 (head != NULL)", NULL);
}

void heap_panic_about(uint32_t address, const char *assertion)
{
    char note[32];
    snprintf(note, sizeof(note), "the pointer is 0x%08" PRIx32, address);
    heap_panic(NULL, assertion, note);
}

heap_system_t *heap_begin(void)
{
    if (s_system == NULL) {
        heap_panic(NULL, "heap_caps heap_caps.c (heap_caps_native_init() was called)", NULL);
    }
    if (s_locked) {
        heap_panic(NULL, "heap_caps_walk heap_caps.c (the heap is not changed by the walker)",
                   "on the chip the heap is locked and interrupts are off in the walker's callback");
    }
    return s_system;
}

void heap_check_health(void)
{
    const char *fault = heap_system_fault(s_system);
    if (fault != NULL) {
        panic_corrupt("%s", fault);
    }
}

/* size_t is 64 bits on the host; a size that does not fit into 32 bits exceeds every heap. */
static uint32_t to_size(size_t size)
{
    return size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
}

/* --- Allocating, without reporting failure; freeing --- */

void *heap_caps_malloc_base(size_t size, uint32_t caps)
{
    void *result = heap_to_pointer(heap_system_malloc(heap_begin(), to_size(size), caps));
    heap_check_health();
    return result;
}

void *heap_caps_aligned_alloc_base(size_t alignment, size_t size, uint32_t caps)
{
    void *result =
        heap_to_pointer(heap_system_aligned_alloc(heap_begin(), to_size(alignment), to_size(size), caps));
    heap_check_health();
    return result;
}

void *heap_caps_calloc_base(size_t n, size_t size, uint32_t caps)
{
    size_t bytes;
    if (!heap_caps_native_multiply(n, size, &bytes)) {
        return NULL;
    }
    void *result = heap_caps_malloc_base(bytes, caps);
    if (result != NULL) {
        memset(result, 0, bytes);
    }
    return result;
}

/* Panics with ESP-IDF's message unless a block in use starts at address. outside: the assert for an address
 * that is in no heap. */
static void require_block(uint32_t address, const char *outside)
{
    switch (heap_system_status(s_system, address)) {
    case HEAP_OK: break;
    case HEAP_OUTSIDE: heap_panic_about(address, outside);
    case HEAP_ALREADY_FREE:
        heap_panic_about(address,
                         "tlsf_free tlsf.c:629 (!block_is_free(block) && \"block already marked as free\")");
    case HEAP_DAMAGED: panic_corrupt("no intact block at 0x%08" PRIx32, address);
    }
}

void heap_caps_free(void *ptr)
{
    if (ptr == NULL) {
        return;
    }
    heap_system_t *system = heap_begin();
    require_block(heap_to_target(ptr),
                  "heap_caps_free heap_caps_base.c:75 (heap != NULL && \"free() target pointer is "
                  "outside heap areas\")");
    heap_system_free(system, heap_to_target(ptr));
    heap_check_health();
}

void *heap_caps_realloc_base(void *ptr, size_t size, uint32_t caps)
{
    heap_system_t *system = heap_begin();
    if (ptr != NULL) {
        require_block(heap_to_target(ptr),
                      "heap_caps_realloc_base heap_caps_base.c:227 (heap != NULL && \"realloc() "
                      "pointer is outside heap areas\")");
    }
    void *result = heap_to_pointer(heap_system_realloc(system, heap_to_target(ptr), to_size(size), caps));
    heap_check_health();
    return result;
}
