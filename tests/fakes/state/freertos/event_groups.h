/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "freertos/FreeRTOS.h"
typedef uint32_t EventBits_t;
EventGroupHandle_t xEventGroupCreateStatic(StaticEventGroup_t *object);
EventBits_t xEventGroupSetBits(EventGroupHandle_t group, EventBits_t bits);
EventBits_t xEventGroupClearBits(EventGroupHandle_t group, EventBits_t bits);
EventBits_t xEventGroupWaitBits(EventGroupHandle_t group, EventBits_t bits, BaseType_t clear, BaseType_t all,
                                TickType_t ticks);
