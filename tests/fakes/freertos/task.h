#pragma once

#include "freertos/FreeRTOS.h"

typedef struct fake_task *TaskHandle_t;
typedef void (*TaskFunction_t)(void *arg);

/* Fails at random, as it does when memory is short. */
BaseType_t xTaskCreate(TaskFunction_t code, const char *name, uint32_t stack, void *arg, UBaseType_t priority,
                       TaskHandle_t *out);
/* Frees the handle, so that the sanitizer catches a later notification. */
void vTaskDelete(TaskHandle_t task);
void vTaskDelay(TickType_t ticks);
TaskHandle_t xTaskGetCurrentTaskHandle(void);
BaseType_t xTaskNotifyGive(TaskHandle_t task);
uint32_t ulTaskNotifyTake(BaseType_t clear, TickType_t ticks);
UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t task);
