/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Edge cases of the API, for mem.api.
 */
#pragma once

#include <stddef.h>

#include "esp_err.h"

typedef struct {
    const char *name;
    esp_err_t (*run)(void);
} api_case_t;

typedef struct {
    const api_case_t *cases;
    size_t count;
    esp_err_t *results; /*!< the cases run once, before memory_manager_init(); NULL: they run on request */
} api_cases_t;

/* For tables X(name, call): a function for each case, and an array of them. */
#define API_CASE_FUNCTION(name, call)  \
    static esp_err_t case_##name(void) \
    {                                  \
        return call;                   \
    }
#define API_CASE_ENTRY(name, call) {#name, case_##name},

extern const api_cases_t API_CASES_BEFORE_INIT;
extern const api_cases_t API_CASES_MANAGER;
extern const api_cases_t API_CASES_OPTIONAL_BEFORE_INIT;
extern const api_cases_t API_CASES_OPTIONAL;
