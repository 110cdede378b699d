/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Text output, buffered for the UART driver: each write takes 31 bytes of its ring in addition to the text.
 * The stdout lock must be held from the first console_output_write() to console_output_flush().
 */
#pragma once

#include <stddef.h>

void console_output_write(const char *text, size_t length);
void console_output_text(const char *text);
void console_output_flush(void);
