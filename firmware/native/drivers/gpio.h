/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pin state, for tests and other drivers.
 */
#pragma once

#include <stdint.h>
#include "hal/gpio_types.h"

/* Duration in us of the pin's last (or current) high pulse, and of the low level since then. */
uint64_t native_gpio_high_us(gpio_num_t pin);
uint64_t native_gpio_low_us(gpio_num_t pin);
