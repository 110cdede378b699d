/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * esp_system and chip information: reset, identity, sizes.
 */
#include "idf/system.h"

#include <stdio.h>
#include <string.h>
#include "chip/host_io.h"
#include "chip/params.h"
#include "chip/rtc.h"
#include "chip/uart.h"
#include "esp_chip_info.h"
#include "esp_idf_version.h"
#include "esp_mac.h"
#include "esp_psram.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "soc/reset_reasons.h"

static esp_reset_reason_t s_reason;

static esp_reset_reason_t reason_from(uint32_t rom_cause, uint32_t hint)
{
    switch (rom_cause) {
    case RESET_REASON_CHIP_POWER_ON: return ESP_RST_POWERON;
    case RESET_REASON_CPU0_SW:
    case RESET_REASON_CORE_SW:
        if (hint == ESP_RST_PANIC || hint == ESP_RST_BROWNOUT || hint == ESP_RST_TASK_WDT ||
            hint == ESP_RST_INT_WDT) {
            return (esp_reset_reason_t)hint;
        }
        return ESP_RST_SW;
    case RESET_REASON_CORE_DEEP_SLEEP: return ESP_RST_DEEPSLEEP;
    case RESET_REASON_CORE_MWDT0: return ESP_RST_TASK_WDT;
    case RESET_REASON_CORE_MWDT1: return ESP_RST_INT_WDT;
    case RESET_REASON_CORE_RTC_WDT:
    case RESET_REASON_SYS_RTC_WDT:
    case RESET_REASON_CPU0_RTC_WDT:
    case RESET_REASON_CPU0_MWDT0:
    case RESET_REASON_CPU1_CPU0: return ESP_RST_WDT;
    case RESET_REASON_SYS_BROWN_OUT: return ESP_RST_BROWNOUT;
    case RESET_REASON_CORE_SDIO: return ESP_RST_SDIO;
    default: return ESP_RST_UNKNOWN;
    }
}

void native_system_init(void)
{
    s_reason = reason_from(g_native_params.rom_cause, native_rtc_hint_take());
}

esp_reset_reason_t esp_reset_reason(void)
{
    return s_reason;
}

void native_reset(uint32_t rom_cause)
{
    native_host_exit(100 + (int)rom_cause);
}

void esp_restart(void)
{
    vTaskSuspendAll();
    native_uart_wait_idle_polling(); // as on the chip, the FIFO is sent, but data in the driver's ring is
                                     // lost
    native_rtc_hint_set(NATIVE_RESET_NO_HINT);
    native_reset(RESET_REASON_CPU0_SW);
}

/* --- Identity --- */

void esp_chip_info(esp_chip_info_t *out_info)
{
    *out_info = (esp_chip_info_t){
        .model = CHIP_POSIX_LINUX, // so that a host build is never mistaken for a chip
        .features = CHIP_FEATURE_WIFI_BGN | CHIP_FEATURE_BT | CHIP_FEATURE_BLE,
        .revision = (uint16_t)g_native_params.chip_revision,
        .cores = 2,
    };
}

esp_err_t esp_base_mac_addr_get(uint8_t *mac)
{
    if (mac == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    memcpy(mac, g_native_params.mac, 6);
    return ESP_OK;
}

esp_err_t esp_efuse_mac_get_default(uint8_t *mac)
{
    return esp_base_mac_addr_get(mac);
}

esp_err_t esp_read_mac(uint8_t *mac, esp_mac_type_t type)
{
    if (mac == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    // the ESP32 has four consecutive addresses, starting with the station's
    uint8_t offset;
    switch (type) {
    case ESP_MAC_WIFI_STA:
    case ESP_MAC_BASE:
    case ESP_MAC_EFUSE_FACTORY: offset = 0; break;
    case ESP_MAC_WIFI_SOFTAP: offset = 1; break;
    case ESP_MAC_BT: offset = 2; break;
    case ESP_MAC_ETH: offset = 3; break;
    default: return ESP_ERR_NOT_SUPPORTED;
    }
    memcpy(mac, g_native_params.mac, 6);
    mac[5] = (uint8_t)(mac[5] + offset);
    return ESP_OK;
}

/* --- PSRAM --- */

bool esp_psram_is_initialized(void)
{
    return g_native_params.psram_bytes > 0;
}

size_t esp_psram_get_size(void)
{
    return g_native_params.psram_bytes;
}
