/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Interrupt allocation: heap usage of esp_intr_alloc.
 */
#pragma once

#include <stdbool.h>

typedef struct native_intr native_intr_t;

/*
 * NULL when there is no memory. A source that is used for the first time keeps 16 bytes permanently (facts:
 * recorded I2S allocations); each user takes a handle, and 24 bytes more where the source is shared.
 */
native_intr_t *native_intr_alloc(unsigned source, bool shared);
void native_intr_free(native_intr_t *intr);

enum {
    NATIVE_INTR_GPIO,
    NATIVE_INTR_I2S0,
    NATIVE_INTR_I2S1,
    NATIVE_INTR_SOURCES,
};
