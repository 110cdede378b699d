/*
 * What the models of the peripheral drivers share, and what tests may ask of the hardware behind them.
 * Nothing outside firmware/native includes this.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"
#include "driver/i2s_types.h"
#include "hal/gpio_types.h"

/* --- pins (gpio.c) --- */

/* How long the pin was high the last time (or is, if it still is), and how long it has been low since, in us.
 */
uint64_t native_gpio_high_us(gpio_num_t pin);
uint64_t native_gpio_low_us(gpio_num_t pin);

/* --- what an I2S port's lines carried (i2s.c) --- */

typedef struct {
    uint64_t frames;   /* sent since the process started, silence included */
    uint64_t sounding; /* frames with a sample that is not zero */
    uint32_t crc32;    /* over the samples of those */
} native_i2s_line_t;

native_i2s_line_t native_i2s_line(i2s_port_t port);
