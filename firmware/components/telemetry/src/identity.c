/* Who is speaking: project, build, chip, and why it started. */
#include "telemetry.h"

#include "esp_app_desc.h"
#include "esp_chip_info.h"
#include "esp_flash.h"
#include "esp_heap_caps.h"
#include "esp_mac.h"
#include "esp_system.h"
#include "number_format.h"
#include "sdkconfig.h"
#if CONFIG_SPIRAM
#include "esp_psram.h"
#endif

/* X(what esp_reset_reason() returns, without ESP_RST_) */
#define RESET_REASONS(X) \
    X(POWERON) X(EXT) X(SW) X(PANIC) X(INT_WDT) X(TASK_WDT) X(WDT) X(DEEPSLEEP) X(BROWNOUT) X(SDIO)

#define TEXT_MAX 24 /* of project and version each: with every field at its longest the record still fits */

static uint32_t s_free_at_main;

void telemetry_mark_start(void)
{
    s_free_at_main = (uint32_t)heap_caps_get_free_size(MALLOC_CAP_DEFAULT);
}

const char *telemetry_reset_reason(void)
{
    switch (esp_reset_reason()) {
#define REASON_CASE_(name) \
    case ESP_RST_##name: return #name;
        RESET_REASONS(REASON_CASE_)
#undef REASON_CASE_
    default: return "UNKNOWN";
    }
}

static const char *chip_name(esp_chip_model_t model)
{
    switch (model) {
    case CHIP_ESP32: return "ESP32";
    case CHIP_POSIX_LINUX: return "virtual";
    default: return "other";
    }
}

static uint32_t psram_size(void)
{
#if CONFIG_SPIRAM
    return esp_psram_is_initialized() ? (uint32_t)esp_psram_get_size() : 0;
#else
    return 0;
#endif
}

static void add_mac(telemetry_record_t *r)
{
    uint8_t mac[6] = {0};
    char text[sizeof("00:00:00:00:00:00") + NUMBER_TEXT_SIZE];
    size_t len = 0;
    esp_efuse_mac_get_default(mac);
    for (size_t i = 0; i < sizeof(mac); i++) {
        len += number_hex(text + len, mac[i], 2, false);
        text[len++] = ':';
    }
    telemetry_strn(r, "mac", text, len - 1);
}

void telemetry_add_identity(telemetry_record_t *r)
{
    const esp_app_desc_t *app = esp_app_get_description();
    esp_chip_info_t chip;
    uint32_t flash_size = 0;
    esp_chip_info(&chip);
    esp_flash_get_size(NULL, &flash_size);

    telemetry_strn(r, "project", app->project_name, TEXT_MAX);
    telemetry_strn(r, "version", app->version, TEXT_MAX);
    telemetry_bytes(r, "elf_sha256", app->app_elf_sha256, sizeof(app->app_elf_sha256));
    telemetry_strn(r, "idf", app->idf_ver, TEXT_MAX);
    telemetry_str(r, "chip", chip_name(chip.model));
    telemetry_u32(r, "rev", chip.revision);
    add_mac(r);
    telemetry_u32(r, "psram", psram_size());
    telemetry_u32(r, "flash", flash_size);
    telemetry_str(r, "reset_reason", telemetry_reset_reason());
    telemetry_u32(r, "boot_count", telemetry_boot_count());
    telemetry_u32(r, "free_at_main", s_free_at_main);
    telemetry_str(r, "build", CONFIG_HOTPIN_BUILD_KIND);
}
