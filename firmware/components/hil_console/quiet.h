/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Silence for people: statistics boxes and event records stay away from the log until they are wanted again,
 * a program sends a request, or the board is reset. Replies and the boot event always come. Console task
 * only.
 */
#pragma once

#include <stdbool.h>

/** true: silent. */
void quiet_set(bool boxes, bool records);

/** What quiet_set() set last. */
bool quiet_boxes(void);
bool quiet_records(void);
