/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The runtime's test program: one case per boot, named in the flash's last sector by the test that runs it.
 */
#pragma once

#include <stdio.h>

typedef struct {
    const char *name;
    void (*run)(void);
} test_case_t;

extern const test_case_t g_alloc_cases[];
extern const test_case_t g_kernel_cases[];
extern const test_case_t g_panic_cases[];
extern const test_case_t g_storage_cases[];
extern const test_case_t g_uart_cases[];

/* Stores one line per check until the case ends, because printing would take virtual time. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(condition) \
    test_note("%s %s:%d %s\n", (condition) ? "ok" : "WRONG", __func__, __LINE__, #condition)
#define CHECK_EQUAL(actual, expected)                                                                    \
    do {                                                                                                 \
        long long actual_ = (long long)(actual), expected_ = (long long)(expected);                      \
        test_note("%s %s:%d %s: %lld, expected %lld\n", actual_ == expected_ ? "ok" : "WRONG", __func__, \
                  __LINE__, #actual, actual_, expected_);                                                \
    } while (0)
