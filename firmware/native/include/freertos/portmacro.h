/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's portmacro.h.
 *
 * Only one task runs at a time, so a spinlock never spins. A critical section prevents preemption of the
 * running task; events that become due inside it fire when the outermost section ends.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include "sdkconfig.h"
#include "esp_attr.h"
#include "esp_cpu.h"
#include "esp_heap_caps.h"
#include "esp_macros.h"
#include "esp_rom_sys.h"
#include "esp_system.h"
#include "freertos/FreeRTOSConfig.h"

#ifdef __cplusplus
extern "C" {
#endif

#define portSTACK_TYPE uint8_t
#define portBASE_TYPE int

typedef portSTACK_TYPE StackType_t;
typedef portBASE_TYPE BaseType_t;
typedef unsigned portBASE_TYPE UBaseType_t;
typedef uint32_t TickType_t;

#define portMAX_DELAY ((TickType_t)0xffffffffUL)
#define portTICK_PERIOD_MS ((TickType_t)1000 / configTICK_RATE_HZ)
#define portBYTE_ALIGNMENT 16
#define portSTACK_GROWTH (-1)
#define portTICK_TYPE_IS_ATOMIC 1

typedef struct {
    uint32_t owner;
    uint32_t count;
} spinlock_t;

typedef spinlock_t portMUX_TYPE;

#define SPINLOCK_FREE 0xB33FFFFF
#define SPINLOCK_WAIT_FOREVER (-1)
#define SPINLOCK_NO_WAIT 0
#define SPINLOCK_INITIALIZER               \
    {                                      \
        .owner = SPINLOCK_FREE, .count = 0 \
    }

#define portMUX_INITIALIZER_UNLOCKED SPINLOCK_INITIALIZER
#define portMUX_FREE_VAL SPINLOCK_FREE
#define portMUX_NO_TIMEOUT SPINLOCK_WAIT_FOREVER
#define portMUX_TRY_LOCK SPINLOCK_NO_WAIT
#define portMUX_INITIALIZE(mux) spinlock_initialize(mux)

static inline void spinlock_initialize(spinlock_t *lock)
{
    lock->owner = SPINLOCK_FREE;
    lock->count = 0;
}

BaseType_t xPortEnterCriticalTimeout(portMUX_TYPE *mux, BaseType_t timeout);
void vPortEnterCritical(portMUX_TYPE *mux);
void vPortExitCritical(portMUX_TYPE *mux);
void vPortYield(void);
void vPortDisableInterrupts(void);
BaseType_t xPortGetCoreID(void);
BaseType_t xPortInIsrContext(void);

#define portGET_CORE_ID() xPortGetCoreID()

#define portDISABLE_INTERRUPTS() vPortDisableInterrupts()
#define portENABLE_INTERRUPTS() vPortEnableInterrupts()
#define portSET_INTERRUPT_MASK_FROM_ISR() xPortSetInterruptMaskFromISR()
#define portCLEAR_INTERRUPT_MASK_FROM_ISR(p) vPortClearInterruptMaskFromISR(p)

#define portTRY_ENTER_CRITICAL(mux, timeout) xPortEnterCriticalTimeout(mux, timeout)
#define portENTER_CRITICAL(mux) vPortEnterCritical(mux)
#define portEXIT_CRITICAL(mux) vPortExitCritical(mux)
#define portTRY_ENTER_CRITICAL_ISR(mux, timeout) xPortEnterCriticalTimeout(mux, timeout)
#define portENTER_CRITICAL_ISR(mux) vPortEnterCritical(mux)
#define portEXIT_CRITICAL_ISR(mux) vPortExitCritical(mux)
#define portTRY_ENTER_CRITICAL_SAFE(mux, timeout) xPortEnterCriticalTimeout(mux, timeout)
#define portENTER_CRITICAL_SAFE(mux) vPortEnterCritical(mux)
#define portEXIT_CRITICAL_SAFE(mux) vPortExitCritical(mux)

#define portYIELD() vPortYield()
/* Empty, because the ready task of the highest priority always runs at the end of an interrupt. */
#define portYIELD_FROM_ISR(...) ((void)0)
#define portYIELD_WITHIN_API() vPortYield()

#ifdef __cplusplus
}
#endif
