/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Queue functions beyond the FreeRTOS API.
 */
#pragma once

#include <stdbool.h>
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"

/* A queue whose items take charged_item_size bytes of the modelled heap each: a driver's event need not have
 * the same size on the host. */
QueueHandle_t native_queue_create_with_caps(UBaseType_t length, UBaseType_t item_size,
                                            UBaseType_t charged_item_size, UBaseType_t caps);
/* A mutex that takes no modelled memory. */
QueueHandle_t native_mutex_uncharged(bool recursive);
