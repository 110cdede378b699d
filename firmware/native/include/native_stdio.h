/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The host build includes this file before every component source (-include). Output to stdout or stderr then
 * goes to the modelled console (FILE lock, 128-byte line buffer, UART), allocations use the modelled heap,
 * and abort() panics. The macros are function-like, so that struct members of these names are unaffected.
 */
#pragma once

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native_console.h"

#undef putchar
#undef putc
#undef strdup

#define malloc(size) native_malloc(size)
#define calloc(n, size) native_calloc(n, size)
#define realloc(ptr, size) native_realloc(ptr, size)
#define free(ptr) native_free(ptr)
#define aligned_alloc(alignment, size) native_aligned_alloc(alignment, size)
#define memalign(alignment, size) native_aligned_alloc(alignment, size)
#define posix_memalign(out, alignment, size) native_posix_memalign(out, alignment, size)
#define strdup(s) native_strdup(s)
#define printf(...) native_printf(__VA_ARGS__)
#define vprintf(format, args) native_vprintf(format, args)
#define fprintf(...) native_fprintf(__VA_ARGS__)
#define vfprintf(stream, format, args) native_vfprintf(stream, format, args)
#define puts(s) native_puts(s)
#define fputs(s, stream) native_fputs(s, stream)
#define fputc(c, stream) native_fputc(c, stream)
#define putc(c, stream) native_fputc(c, stream)
#define putchar(c) native_fputc(c, stdout)
#define fwrite(ptr, size, n, stream) native_fwrite(ptr, size, n, stream)
#define fflush(stream) native_fflush(stream)
#define setvbuf(stream, buf, mode, size) native_setvbuf(stream, buf, mode, size)
#define flockfile(stream) native_flockfile(stream)
#define ftrylockfile(stream) native_ftrylockfile(stream)
#define funlockfile(stream) native_funlockfile(stream)
#define fileno(stream) native_fileno(stream)
#define fsync(fd) native_fsync(fd)
#define abort() native_abort()
