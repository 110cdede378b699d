/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pins, as tests and other drivers read them.
 */
#pragma once

#include <stdint.h>
#include "hal/gpio_types.h"

/* How long the pin was high the last time (or is, if it still is), and how long it has been low since, in us.
 */
uint64_t native_gpio_high_us(gpio_num_t pin);
uint64_t native_gpio_low_us(gpio_num_t pin);
