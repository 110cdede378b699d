/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Board identity: project, build, chip, reset reason.
 */
#include "telemetry.h"

#include "build_origin.h"
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

/* X(name of the esp_reset_reason_t value without ESP_RST_) */
#define RESET_REASONS(X) \
    X(POWERON) X(EXT) X(SW) X(PANIC) X(INT_WDT) X(TASK_WDT) X(WDT) X(DEEPSLEEP) X(BROWNOUT) X(SDIO)

/* A text in the app description has no terminator if it fills its field. */
#define APP_TEXT_MAX(field) sizeof(((esp_app_desc_t *)0)->field)

#define BUILD_KIND_MAX 16
_Static_assert(sizeof(CONFIG_HOTPIN_BUILD_KIND) - 1 <= BUILD_KIND_MAX,
               "longer fields may need another record");

#define MORE_SIZE (sizeof(",\"more\":true") - 1)

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

static uint32_t chip_revision(void)
{
    esp_chip_info_t chip;
    esp_chip_info(&chip);
    return chip.revision;
}

static const char *chip_model(void)
{
    esp_chip_info_t chip;
    esp_chip_info(&chip);
    return chip_name(chip.model);
}

static uint32_t flash_size(void)
{
    uint32_t size = 0;
    esp_flash_get_size(NULL, &size);
    return size;
}

static void add_field(telemetry_record_t *r, size_t field)
{
    const esp_app_desc_t *app = esp_app_get_description();
    switch (field) {
    case 0: telemetry_strn(r, "project", app->project_name, APP_TEXT_MAX(project_name)); break;
    case 1: telemetry_strn(r, "version", app->version, APP_TEXT_MAX(version)); break;
    case 2: telemetry_bytes(r, "elf_sha256", app->app_elf_sha256, sizeof(app->app_elf_sha256)); break;
    case 3: telemetry_strn(r, "idf", app->idf_ver, APP_TEXT_MAX(idf_ver)); break;
    case 4: telemetry_str(r, "chip", chip_model()); break;
    case 5: telemetry_u32(r, "rev", chip_revision()); break;
    case 6: add_mac(r); break;
    case 7: telemetry_u32(r, "psram", psram_size()); break;
    case 8: telemetry_u32(r, "flash", flash_size()); break;
    case 9: telemetry_str(r, "reset_reason", telemetry_reset_reason()); break;
    case 10: telemetry_u32(r, "boot_count", telemetry_boot_count()); break;
    case 11: telemetry_u32(r, "free_at_main", s_free_at_main); break;
    case 12: telemetry_str(r, "build", CONFIG_HOTPIN_BUILD_KIND); break;
    case 13: telemetry_str(r, "commit", g_build_origin.commit); break;
    case 14: telemetry_str(r, "dirty", g_build_origin.dirty); break;
    }
}

size_t telemetry_add_identity(telemetry_record_t *r, size_t field)
{
    for (; field < TELEMETRY_IDENTITY_FIELDS; field++) {
        bool last = field + 1 == TELEMETRY_IDENTITY_FIELDS;
        telemetry_record_t before = *r;
        add_field(r, field);
        if (r->overflow || (!last && telemetry_record_room(r) < MORE_SIZE)) {
            *r = before;
            break;
        }
    }
    return field;
}
