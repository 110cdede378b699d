/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The cores that tasks are pinned to. All are defined here, so that a single-core build
 * (CONFIG_FREERTOS_UNICORE, as for QEMU) has no task on a core that does not exist.
 */
#pragma once

#include "sdkconfig.h"

/** Tasks that start drivers: a driver's interrupts are allocated on the core that starts it. */
#define TASK_CORE_DRIVERS 0
/** Tasks that copy audio samples: the core without the drivers' interrupts, if there are two. */
#define TASK_CORE_SOUND (CONFIG_FREERTOS_NUMBER_OF_CORES - 1)
