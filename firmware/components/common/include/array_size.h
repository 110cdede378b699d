/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

/** Number of elements of an array (not of a pointer). */
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
