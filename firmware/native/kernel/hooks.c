/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernel/hooks.h"

native_hooks_t g_native_hooks;
