/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Text for people, collected into whole pieces for the UART driver: each write takes 31 bytes more of its
 * ring than the text. With the stdout lock held from the first console_output_write() to
 * console_output_flush().
 */
#pragma once

#include <stddef.h>

void console_output_write(const char *text, size_t length);
void console_output_text(const char *text);
void console_output_flush(void);
