/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's freertos/idf_additions.h.
 */
#pragma once

#include "sdkconfig.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "freertos/queue.h"
#include "freertos/semphr.h"
#include "freertos/event_groups.h"
#include "esp_heap_caps.h"

#ifdef __cplusplus
extern "C" {
#endif

TaskHandle_t xTaskGetCurrentTaskHandleForCore(BaseType_t xCoreID);
BaseType_t xTaskGetCoreID(TaskHandle_t xTask);
uint8_t *pxTaskGetStackStart(TaskHandle_t xTask);

void vQueueDeleteWithCaps(QueueHandle_t xQueue);
SemaphoreHandle_t xSemaphoreCreateGenericWithCaps(UBaseType_t uxMaxCount, UBaseType_t uxInitialCount,
                                                  const uint8_t ucQueueType, UBaseType_t uxMemoryCaps);
void vSemaphoreDeleteWithCaps(SemaphoreHandle_t xSemaphore);

static inline SemaphoreHandle_t xSemaphoreCreateBinaryWithCaps(UBaseType_t uxMemoryCaps)
{
    return xSemaphoreCreateGenericWithCaps(0, 0, queueQUEUE_TYPE_BINARY_SEMAPHORE, uxMemoryCaps);
}

static inline SemaphoreHandle_t xSemaphoreCreateMutexWithCaps(UBaseType_t uxMemoryCaps)
{
    return xSemaphoreCreateGenericWithCaps(0, 0, queueQUEUE_TYPE_MUTEX, uxMemoryCaps);
}

#ifdef __cplusplus
}
#endif
