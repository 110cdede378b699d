/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Silence for interactive use: statistics boxes and event records are suppressed until they are enabled
 * again, a program sends a request, or the board is reset. Replies and the boot event are always sent.
 * Console task only.
 */
#pragma once

#include <stdbool.h>

/** true: silent. */
void quiet_set(bool boxes, bool records);

/** Value of the last quiet_set(). */
bool quiet_boxes(void);
bool quiet_records(void);
