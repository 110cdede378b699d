/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Queue functions beyond the FreeRTOS API.
 */
#pragma once

#include <stdbool.h>
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"

/* Creates a queue that charges charged_item_size bytes per item to the modelled heap, since the size of a
 * driver's event may differ on the host. */
QueueHandle_t native_queue_create_with_caps(UBaseType_t length, UBaseType_t item_size,
                                            UBaseType_t charged_item_size, UBaseType_t caps);
/* Creates a mutex that takes no modelled memory. */
QueueHandle_t native_mutex_uncharged(bool recursive);
