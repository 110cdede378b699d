/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#define IRAM_ATTR
#define NOINLINE_ATTR __attribute__((noinline))
#define RTC_NOINIT_ATTR
