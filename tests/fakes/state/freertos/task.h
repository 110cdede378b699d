/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "freertos/FreeRTOS.h"
typedef void *TaskHandle_t;
typedef void (*TaskFunction_t)(void *arg);
/* No xTaskCreate(): the state task starts drivers, whose interrupts must not move between the cores. */
BaseType_t xTaskCreatePinnedToCore(TaskFunction_t code, const char *name, uint32_t stack, void *arg,
                                   UBaseType_t priority, TaskHandle_t *out, BaseType_t core);
void vTaskDelay(TickType_t ticks);
char *pcTaskGetName(TaskHandle_t task);
