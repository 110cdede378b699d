/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Calls that the first recorder makes from inside its callback.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "api_case.h"

/** @return the `index`-th call that can be made; NULL after the last */
const api_case_t *callback_calls_at(size_t index);
/** @return the call with this name; NULL if there is none */
const api_case_t *callback_calls_find(const char *name);

/** Each callback makes this call from now on. */
void callback_calls_set(const api_case_t *call);
/** Each callback also queries and logs the statistics from now on. */
void callback_calls_log(void);
/** The callback makes no call and does not log. */
void callback_calls_reset(void);
/** Ends the call `block`. */
void callback_calls_unblock(void);

/** Called by the first recorder. */
void callback_calls_run(bool recovery);

/** @return first error of the calls; ESP_ERR_NOT_FINISHED: none has returned */
esp_err_t callback_calls_error(void);
bool callback_calls_is_blocked(void);
