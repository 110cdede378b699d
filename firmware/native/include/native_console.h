/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Console and heap functions behind the C library's names, which native_stdio.h maps to them. stdout and
 * stderr are the modelled console; other files are files of the host.
 */
#pragma once

#include <stdarg.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

void *native_malloc(size_t size);
void *native_calloc(size_t n, size_t size);
void *native_realloc(void *ptr, size_t size);
void native_free(void *ptr);
void *native_aligned_alloc(size_t alignment, size_t size);
int native_posix_memalign(void **out, size_t alignment, size_t size);
char *native_strdup(const char *s);

int native_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int native_vprintf(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
int native_fprintf(FILE *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));
int native_vfprintf(FILE *stream, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
int native_puts(const char *s);
int native_fputs(const char *s, FILE *stream);
int native_fputc(int c, FILE *stream);
size_t native_fwrite(const void *ptr, size_t size, size_t n, FILE *stream);
int native_fflush(FILE *stream);
void native_flockfile(FILE *stream);
void native_funlockfile(FILE *stream);
void native_abort(void) __attribute__((__noreturn__));

#ifdef __cplusplus
}
#endif
