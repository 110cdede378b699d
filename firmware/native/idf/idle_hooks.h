/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Idle hooks; components register them through esp_freertos_hooks.h.
 */
#pragma once

/* Calls the hooks of a core. */
void native_idle_hooks_run(int core);
