/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Interrupt allocation: heap usage of esp_intr_alloc.
 */
#pragma once

typedef struct native_intr native_intr_t;

typedef enum {
    NATIVE_INTR_NOT_SHARED,
    NATIVE_INTR_I2S0,
    NATIVE_INTR_I2S1,
    NATIVE_INTR_SOURCES,
} native_intr_source_t;

/* Returns NULL if out of memory. */
native_intr_t *native_intr_alloc(native_intr_source_t source);
void native_intr_free(native_intr_t *intr);
