/* esp_system and what the firmware may ask of the chip: reset, identity, sizes. */
#include "native.h"

#include <stdio.h>
#include <string.h>
#include "esp_app_desc.h"
#include "esp_chip_info.h"
#include "esp_idf_version.h"
#include "esp_mac.h"
#include "esp_psram.h"
#include "esp_system.h"

#define SHUTDOWN_HANDLERS 5 /* as many as ESP-IDF has room for without Wi-Fi */

static shutdown_handler_t s_handlers[SHUTDOWN_HANDLERS];
static esp_reset_reason_t s_reason;
static esp_app_desc_t s_app_desc;

#ifndef HOTPIN_PROJECT_NAME
#define HOTPIN_PROJECT_NAME "hotpin"
#endif
#ifndef HOTPIN_PROJECT_VERSION
#define HOTPIN_PROJECT_VERSION "0"
#endif

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

/* A text of full length has no NUL, as in an ESP-IDF build. */
static void describe(char field[32], const char *given, const char *built)
{
    const char *text = given != NULL ? given : built;
    memcpy(field, text, strnlen(text, 32));
}

void native_system_init(void)
{
    s_reason = reason_from(g_native_params.rom_cause, native_rtc_hint_take());
    s_app_desc = (esp_app_desc_t){
        .magic_word = ESP_APP_DESC_MAGIC_WORD,
    };
    describe(s_app_desc.version, g_native_params.project_version, HOTPIN_PROJECT_VERSION);
    describe(s_app_desc.project_name, g_native_params.project_name, HOTPIN_PROJECT_NAME);
    describe(s_app_desc.idf_ver, g_native_params.idf_version, "native");
#if CONFIG_APP_COMPILE_TIME_DATE
    memcpy(s_app_desc.time, __TIME__, sizeof __TIME__);
    memcpy(s_app_desc.date, __DATE__, sizeof __DATE__);
#endif
    memcpy(s_app_desc.app_elf_sha256, g_native_params.elf_sha256, sizeof s_app_desc.app_elf_sha256);
}

esp_reset_reason_t esp_reset_reason(void)
{
    return s_reason;
}

void native_reset(uint32_t rom_cause)
{
    native_host_exit(100 + (int)rom_cause);
}

esp_err_t esp_register_shutdown_handler(shutdown_handler_t handle)
{
    for (int i = 0; i < SHUTDOWN_HANDLERS; i++) {
        if (s_handlers[i] == handle) {
            return ESP_ERR_INVALID_STATE;
        }
    }
    for (int i = 0; i < SHUTDOWN_HANDLERS; i++) {
        if (s_handlers[i] == NULL) {
            s_handlers[i] = handle;
            return ESP_OK;
        }
    }
    return ESP_ERR_NO_MEM;
}

esp_err_t esp_unregister_shutdown_handler(shutdown_handler_t handle)
{
    for (int i = 0; i < SHUTDOWN_HANDLERS; i++) {
        if (s_handlers[i] == handle) {
            s_handlers[i] = NULL;
            return ESP_OK;
        }
    }
    return ESP_ERR_INVALID_STATE;
}

void esp_restart(void)
{
    for (int i = SHUTDOWN_HANDLERS - 1; i >= 0; i--) {
        if (s_handlers[i] != NULL) {
            s_handlers[i]();
        }
    }
    vTaskSuspendAll();
    native_uart_wait_idle_polling(); // the FIFO goes out; what still lies in the driver's ring is lost, as on
                                     // the chip
    native_rtc_hint_set(NATIVE_RESET_NO_HINT);
    native_reset(RESET_REASON_CPU0_SW);
}

void esp_system_abort(const char *details)
{
    native_panic(details, ESP_RST_PANIC);
}

uint32_t esp_get_free_heap_size(void)
{
    return (uint32_t)heap_caps_get_free_size(MALLOC_CAP_DEFAULT);
}

uint32_t esp_get_free_internal_heap_size(void)
{
    return (uint32_t)heap_caps_get_free_size(MALLOC_CAP_8BIT | MALLOC_CAP_DMA | MALLOC_CAP_INTERNAL);
}

uint32_t esp_get_minimum_free_heap_size(void)
{
    return (uint32_t)heap_caps_get_minimum_free_size(MALLOC_CAP_DEFAULT);
}

/* --- identity --- */

const char *esp_get_idf_version(void)
{
    return "native";
}

void esp_chip_info(esp_chip_info_t *out_info)
{
    *out_info = (esp_chip_info_t){
        .model = CHIP_POSIX_LINUX, // it runs on the host and must not pass for a chip
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
    // ESP32: four addresses in a row, the station's is the base
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

const esp_app_desc_t *esp_app_get_description(void)
{
    return &s_app_desc;
}

int esp_app_get_elf_sha256(char *dst, size_t size)
{
    size_t digits = CONFIG_APP_RETRIEVE_LEN_ELF_SHA;
    digits = size - 1 < digits ? size - 1 : digits;
    char text[2 * sizeof s_app_desc.app_elf_sha256 + 1];
    for (size_t i = 0; i < sizeof s_app_desc.app_elf_sha256; i++) {
        snprintf(text + 2 * i, 3, "%02x", s_app_desc.app_elf_sha256[i]);
    }
    memcpy(dst, text, digits);
    dst[digits] = '\0';
    return (int)digits + 1;
}

char *esp_app_get_elf_sha256_str(void)
{
    static char s_text[CONFIG_APP_RETRIEVE_LEN_ELF_SHA + 1];
    esp_app_get_elf_sha256(s_text, sizeof s_text);
    return s_text;
}

/* --- PSRAM --- */

esp_err_t esp_psram_init(void)
{
    return g_native_params.psram_bytes > 0 ? ESP_OK : ESP_ERR_NOT_FOUND;
}

bool esp_psram_is_initialized(void)
{
    return g_native_params.psram_bytes > 0;
}

size_t esp_psram_get_size(void)
{
    return g_native_params.psram_bytes;
}
