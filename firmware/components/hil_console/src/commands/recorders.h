/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Callbacks for warnings and recoveries that record their calls.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory_manager.h"

#define RECORDERS_MAX (MEMORY_CALLBACKS_MAX + 1) /* one more than can be registered */
#define RECORDED_MAX 48

typedef struct {
    memory_warning_t warning;
    uint8_t callback;
    bool recovery;
} recorded_call_t;

extern const memory_warning_callback_t RECORDERS_ON_WARNING[RECORDERS_MAX];
extern const memory_warning_callback_t RECORDERS_ON_RECOVERY[RECORDERS_MAX];

/** Registers both callbacks of recorder `n`, or none. */
esp_err_t recorders_register(unsigned n);

/** Registers the next recorder. */
esp_err_t recorders_add(void);
void recorders_remove_newest(uint32_t count);
/** Unregisters both callbacks of recorder `n`, which leaves a gap in the lists. */
esp_err_t recorders_leave_out(unsigned n);
/** Removes all recorders and forgets their calls. */
void recorders_clear(void);
/** @return number of recorders that recorders_add() registered */
unsigned recorders_registered(void);

/** @return number of calls; only the first RECORDED_MAX are stored */
uint32_t recorders_call_count(void);
const recorded_call_t *recorders_call(size_t index);
