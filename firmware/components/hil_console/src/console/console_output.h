/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Text for people, collected into whole pieces for the UART driver: each write takes 31 bytes more of its
 * ring than the text. With the stdout lock held from the first console_put() to console_flush().
 */
#pragma once

#include <stddef.h>

void console_put(const char *text, size_t length);
void console_write_text(const char *text);
void console_flush(void);
