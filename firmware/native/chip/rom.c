/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Functions of the chip's ROM.
 */
#include "chip/rom.h"

#include <stdio.h>
#include "chip/params.h"
#include "chip/uart.h"
#include "esp_cpu.h"
#include "esp_random.h"
#include "esp_rom_crc.h"
#include "esp_rom_sys.h"
#include "kernel/run.h"

void esp_rom_output_to_channels(char c)
{
    if (c == '\n') {
        native_uart_put_polling('\r');
    }
    native_uart_put_polling(c);
}

int esp_rom_vprintf(const char *fmt, va_list ap)
{
    char text[512]; // the ROM has no limit, but the firmware never prints longer lines through it
    int length = vsnprintf(text, sizeof text, fmt, ap);
    for (const char *c = text; *c != '\0'; c++) {
        esp_rom_output_to_channels(*c);
    }
    return length;
}

int esp_rom_printf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int length = esp_rom_vprintf(fmt, args);
    va_end(args);
    return length;
}

void esp_rom_delay_us(uint32_t us)
{
    native_consume_us(us);
}

static uint32_t crc_le(uint32_t crc, uint32_t polynomial, uint8_t const *buf, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        crc ^= buf[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
        }
    }
    return crc;
}

uint32_t esp_rom_crc32_le(uint32_t crc, uint8_t const *buf, uint32_t len)
{
    return ~crc_le(~crc, 0xEDB88320, buf, len);
}

/* --- Random numbers: the sequence depends only on the seed, which the board draws for each boot --- */

static uint64_t s_random;

void native_random_init(void)
{
    s_random = g_native_params.seed;
}

/* splitmix64 */
uint32_t esp_random(void)
{
    s_random += 0x9E3779B97F4A7C15u;
    uint64_t z = s_random;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}
