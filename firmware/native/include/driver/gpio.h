/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's driver/gpio.h: output levels, and the memory of the interrupt service.
 */
#pragma once

#include <stdint.h>

#include "esp_err.h"
#include "esp_intr_alloc.h"
#include "hal/gpio_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GPIO_IS_VALID_GPIO(gpio_num)                                                         \
    ((gpio_num) >= 0 && (gpio_num) < GPIO_NUM_MAX && (gpio_num) != 20 && (gpio_num) != 24 && \
     !((gpio_num) >= 28 && (gpio_num) <= 31))
#define GPIO_IS_VALID_OUTPUT_GPIO(gpio_num) (GPIO_IS_VALID_GPIO(gpio_num) && (gpio_num) < 34)

typedef struct {
    uint64_t pin_bit_mask;
    gpio_mode_t mode;
    gpio_pullup_t pull_up_en;
    gpio_pulldown_t pull_down_en;
    gpio_int_type_t intr_type;
} gpio_config_t;

esp_err_t gpio_config(const gpio_config_t *pGPIOConfig);
esp_err_t gpio_set_level(gpio_num_t gpio_num, uint32_t level);
int gpio_get_level(gpio_num_t gpio_num);
esp_err_t gpio_install_isr_service(int intr_alloc_flags);

#ifdef __cplusplus
}
#endif
