/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Buffered text output. Buffering saves space in the UART driver's ring: in addition to the text, each write
 * takes 31 bytes in the ring. Hold the stdout lock from the first console_output_write() to
 * console_output_flush().
 */
#pragma once

#include <stddef.h>

void console_output_write(const char *text, size_t length);
void console_output_text(const char *text);
void console_output_flush(void);
