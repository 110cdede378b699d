/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * stdout and stderr of the firmware: newlib's streams, with their locks and stdout's 128-byte line buffer.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "esp_heap_caps.h"
#include "heap/heap_caps_native.h"
#include "idf/uart_vfs.h"
#include "kernel/lock.h"
#include "kernel/object.h"
#include "native_console.h"

#define LINE_BYTES 128 /* newlib's buffer on the ESP32 */

typedef struct {
    native_lock_t lock;
    bool buffered;
    size_t length;
    char line[LINE_BYTES];
} stream_t;

static stream_t s_stdout = {.lock = {.recursive = true, .precharged = true}, .buffered = true};
static stream_t s_stderr = {.lock = {.recursive = true, .precharged = true}};

/* The modelled stream; NULL for a file of the host. */
static stream_t *stream_of(FILE *file)
{
    return file == stdout ? &s_stdout : file == stderr ? &s_stderr : NULL;
}

static void flush(stream_t *stream)
{
    if (stream->length > 0) {
        size_t length = stream->length;
        stream->length = 0;
        native_uart_vfs_write(stream->line, length);
    }
}

static void put(stream_t *stream, const char *text, size_t length)
{
    if (!stream->buffered) {
        native_uart_vfs_write(text, length);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        stream->line[stream->length++] = text[i];
        if (text[i] == '\n' || stream->length == LINE_BYTES) {
            flush(stream);
        }
    }
}

static void write_stream(stream_t *stream, const char *text, size_t length)
{
    native_lock_acquire(&stream->lock);
    put(stream, text, length);
    native_lock_release(&stream->lock);
}

void native_console_flush(void)
{
    flush(&s_stdout);
}

int native_vfprintf(FILE *file, const char *format, va_list args)
{
    stream_t *stream = stream_of(file);
    if (stream == NULL) {
        return vfprintf(file, format, args);
    }
    char local[512];
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(local, sizeof local, format, args);
    if (length >= (int)sizeof local) {
        char *text = native_host_alloc((size_t)length + 1);
        vsnprintf(text, (size_t)length + 1, format, again);
        write_stream(stream, text, (size_t)length);
        native_host_free(text);
    } else if (length > 0) {
        write_stream(stream, local, (size_t)length);
    }
    va_end(again);
    return length;
}

int native_vprintf(const char *format, va_list args)
{
    return native_vfprintf(stdout, format, args);
}

int native_fprintf(FILE *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = native_vfprintf(file, format, args);
    va_end(args);
    return length;
}

int native_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = native_vfprintf(stdout, format, args);
    va_end(args);
    return length;
}

size_t native_fwrite(const void *ptr, size_t size, size_t n, FILE *file)
{
    stream_t *stream = stream_of(file);
    if (stream == NULL) {
        return fwrite(ptr, size, n, file);
    }
    write_stream(stream, ptr, size * n);
    return n;
}

int native_fputs(const char *s, FILE *file)
{
    native_fwrite(s, 1, strlen(s), file);
    return 0;
}

int native_puts(const char *s)
{
    native_lock_acquire(&s_stdout.lock);
    put(&s_stdout, s, strlen(s));
    put(&s_stdout, "\n", 1);
    native_lock_release(&s_stdout.lock);
    return 0;
}

int native_fputc(int c, FILE *file)
{
    char byte = (char)c;
    native_fwrite(&byte, 1, 1, file);
    return (unsigned char)byte;
}

int native_fflush(FILE *file)
{
    stream_t *stream = stream_of(file);
    if (file != NULL && stream == NULL) {
        return fflush(file);
    }
    native_lock_acquire(&s_stdout.lock);
    flush(&s_stdout);
    native_lock_release(&s_stdout.lock);
    return 0;
}

void native_flockfile(FILE *file)
{
    stream_t *stream = stream_of(file);
    if (stream != NULL) {
        native_lock_acquire(&stream->lock);
    }
}

void native_funlockfile(FILE *file)
{
    stream_t *stream = stream_of(file);
    if (stream != NULL) {
        native_lock_release(&stream->lock);
    }
}

void *native_malloc(size_t size)
{
    return heap_caps_malloc_default(size);
}

void *native_calloc(size_t n, size_t size)
{
    return heap_caps_calloc_default(n, size);
}

void *native_realloc(void *ptr, size_t size)
{
    return heap_caps_realloc_default(ptr, size);
}

void *native_aligned_alloc(size_t alignment, size_t size)
{
    return heap_caps_aligned_alloc_default(alignment, size);
}

int native_posix_memalign(void **out, size_t alignment, size_t size)
{
    void *result = heap_caps_aligned_alloc_default(alignment, size);
    if (result != NULL || size == 0) {
        *out = result; // as in ESP-IDF: only on success
        return 0;
    }
    return ENOMEM;
}

void native_free(void *ptr)
{
    heap_caps_free(ptr);
}

char *native_strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = heap_caps_malloc_default(size);
    return copy == NULL ? NULL : memcpy(copy, s, size);
}
