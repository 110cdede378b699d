/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The cores that tasks are pinned to. They are defined here only, so that no task of a single-core build
 * (CONFIG_FREERTOS_UNICORE, as for QEMU) is pinned to a missing core.
 */
#pragma once

#include "sdkconfig.h"

/** Core of the tasks that start drivers. The drivers' interrupts therefore run on it as well. */
#define TASK_CORE_DRIVERS 0
/** Core of the tasks that copy audio samples: on two cores, the core without the drivers' interrupts. */
#define TASK_CORE_SOUND (CONFIG_FREERTOS_NUMBER_OF_CORES - 1)
