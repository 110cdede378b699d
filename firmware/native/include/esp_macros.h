/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_macros.h.
 */
#pragma once

#define ESP_UNUSED(x) ((void)(x))
#define ESP_INFINITE_LOOP() \
    do {                    \
        __asm volatile(""); \
    } while (1)
