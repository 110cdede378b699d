/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Suppresses statistics boxes and event records during interactive use, until they are enabled again, a
 * program sends a request, or the board is reset. Replies and the boot event are always sent. Console task
 * only.
 */
#pragma once

#include <stdbool.h>

/** Sets whether boxes and event records are suppressed (true). */
void quiet_set(bool boxes, bool records);

/** The values last passed to quiet_set(). */
bool quiet_boxes(void);
bool quiet_records(void);
