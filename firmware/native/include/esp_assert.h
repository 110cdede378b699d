/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_assert.h.
 */
#pragma once

#include "assert.h"

#define ESP_STATIC_ASSERT _Static_assert
#define TRY_STATIC_ASSERT(CONDITION, MSG) _Static_assert((CONDITION), #MSG)
