/* Functions of the chip's ROM. */
#include "native.h"

#include <stdio.h>
#include "esp_cpu.h"
#include "esp_random.h"
#include "esp_rom_crc.h"
#include "esp_rom_sys.h"

void esp_rom_output_to_channels(char c)
{
    if (c == '\n') {
        native_uart_put_polling('\r');
    }
    native_uart_put_polling(c);
}

int esp_rom_vprintf(const char *fmt, va_list ap)
{
    char text[512]; // the ROM has no limit; nothing in the firmware prints longer lines this way
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

soc_reset_reason_t esp_rom_get_reset_reason(int cpu_no)
{
    (void)cpu_no;
    return (soc_reset_reason_t)g_native_params.rom_cause;
}

uint32_t esp_rom_get_cpu_ticks_per_us(void)
{
    return CONFIG_ESP_DEFAULT_CPU_FREQ_MHZ;
}

esp_cpu_cycle_count_t esp_cpu_get_cycle_count(void)
{
    native_poll_cost();
    return (esp_cpu_cycle_count_t)(native_now_us() * CONFIG_ESP_DEFAULT_CPU_FREQ_MHZ);
}

bool esp_cpu_compare_and_set(volatile uint32_t *addr, uint32_t compare_value, uint32_t new_value)
{
    if (*addr != compare_value) {
        return false;
    }
    *addr = new_value;
    return true;
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

uint16_t esp_rom_crc16_le(uint16_t crc, uint8_t const *buf, uint32_t len)
{
    return (uint16_t)~crc_le((uint16_t)~crc, 0x8408, buf, len);
}

uint8_t esp_rom_crc8_le(uint8_t crc, uint8_t const *buf, uint32_t len)
{
    return (uint8_t)~crc_le((uint8_t)~crc, 0xE0, buf, len);
}

uint16_t esp_rom_crc16_be(uint16_t crc, uint8_t const *buf, uint32_t len)
{
    uint16_t value = (uint16_t)~crc;
    for (uint32_t i = 0; i < len; i++) {
        value ^= (uint16_t)(buf[i] << 8);
        for (int bit = 0; bit < 8; bit++) {
            value = (uint16_t)(value & 0x8000 ? value << 1 ^ 0x1021 : value << 1);
        }
    }
    return (uint16_t)~value;
}

/* --- random numbers: a sequence of its own at each start, the same for the same seed and start --- */

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

void esp_fill_random(void *buf, size_t len)
{
    uint8_t *bytes = buf;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)esp_random();
    }
}
