/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Handles: maps the chip's address of a kernel object to the host's object, and detects stale handles.
 */
#include "kernel/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/hooks.h"
#include "sdkconfig.h"

#define MARK 0x4B4F0000u // "KO": kernel object; the low byte is its kind

typedef struct {
    uint32_t mark;
    uint32_t number; // never reused, so that a stale handle cannot identify a new object
} name_t;

#if CONFIG_FREERTOS_UNICORE
unsigned g_native_cores = 1;
#else
unsigned g_native_cores = 2;
#endif

static void **s_objects;
static uint32_t s_count;
static uint32_t s_capacity;

void *native_host_alloc(size_t size)
{
    void *p = calloc(1, size);
    if (p == NULL) {
        fprintf(stderr, "native: the host is out of memory (%zu bytes requested)\n", size);
        g_native_hooks.host_exit(2);
    }
    return p;
}

void native_host_free(void *p)
{
    free(p);
}

void native_object_bind(void *block, native_kind_t kind, void *object)
{
    if (s_count == s_capacity) {
        s_capacity = s_capacity == 0 ? 64 : 2 * s_capacity;
        s_objects = realloc(s_objects, s_capacity * sizeof *s_objects);
        if (s_objects == NULL) {
            fprintf(stderr, "native: the host is out of memory\n");
            g_native_hooks.host_exit(2);
        }
    }
    s_objects[s_count] = object;
    name_t name = {.mark = MARK | kind, .number = s_count++};
    memcpy(block, &name, sizeof name);
}

void *native_object_get(const void *handle, native_kind_t kind, const char *function)
{
    name_t name = {0};
    if (handle != NULL) {
        memcpy(&name, handle, sizeof name);
    }
    if (name.mark != (MARK | kind) || name.number >= s_count || s_objects[name.number] == NULL) {
        char text[160];
        snprintf(text, sizeof text, "assert failed: %s (handle %p is %s)", function, handle,
                 handle == NULL ? "NULL" : "not an object of this kind: deleted, or its memory overwritten");
        g_native_hooks.panic(text);
    }
    return s_objects[name.number];
}

void native_object_unbind(void *block)
{
    name_t name;
    memcpy(&name, block, sizeof name);
    s_objects[name.number] = NULL;
    memset(block, 0, sizeof name);
}
