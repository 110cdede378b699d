/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Data that survives the process (RTC memory, flash, NVS), and the board's identity.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "esp_app_desc.h"
#include "esp_attr.h"
#include "esp_chip_info.h"
#include "esp_flash.h"
#include "esp_idf_version.h"
#include "esp_mac.h"
#include "esp_partition.h"
#include "esp_psram.h"
#include "esp_random.h"
#include "esp_rom_crc.h"
#include "esp_system.h"
#include "nvs.h"
#include "nvs_flash.h"
#include "runtime_test.h"

RTC_NOINIT_ATTR static uint32_t s_rtc_mark;
RTC_NOINIT_ATTR static uint32_t s_rtc_count;

#define RTC_MARK 0x600DCAFE

static void case_rtc(void)
{
    if (s_rtc_mark != RTC_MARK) {
        s_rtc_mark = RTC_MARK;
        s_rtc_count = 0;
    }
    s_rtc_count++;
    printf("rtc count %" PRIu32 " reason %d\n", s_rtc_count, esp_reset_reason());
}

static void case_rtc_abort(void)
{
    case_rtc();
    abort();
}

static void case_identity(void)
{
    uint8_t mac[6];
    CHECK_EQUAL(esp_read_mac(mac, ESP_MAC_WIFI_STA), ESP_OK);
    printf("mac " MACSTR "\n", MAC2STR(mac));
    CHECK_EQUAL(esp_read_mac(mac, ESP_MAC_ETH), ESP_OK);
    printf("eth " MACSTR "\n", MAC2STR(mac));
    esp_chip_info_t chip;
    esp_chip_info(&chip);
    CHECK_EQUAL(chip.model, CHIP_POSIX_LINUX);
    printf("revision %u\n", chip.revision);
    printf("psram %u\n", (unsigned)esp_psram_get_size());
    uint32_t flash;
    esp_flash_get_size(NULL, &flash);
    printf("flash %" PRIu32 "\n", flash);
    char sha[65];
    CHECK_EQUAL(esp_app_get_elf_sha256(sha, sizeof sha), 10);
    printf("sha %s\n", sha);
    printf("random %08" PRIx32 "\n", esp_random());
    CHECK_EQUAL(esp_rom_crc32_le(0, (const uint8_t *)"123456789", 9), 0xCBF43926);
}

static void case_nvs_write(void)
{
    nvs_handle_t h;
    CHECK_EQUAL(nvs_open("hotpin", NVS_READWRITE, &h), ESP_ERR_NVS_NOT_INITIALIZED);
    CHECK_EQUAL(nvs_flash_init(), ESP_OK);
    CHECK_EQUAL(nvs_open("hotpin", NVS_READONLY, &h), ESP_ERR_NVS_NOT_FOUND);
    CHECK_EQUAL(nvs_open("hotpin", NVS_READWRITE, &h), ESP_OK);
    uint32_t u32;
    CHECK_EQUAL(nvs_get_u32(h, "boots", &u32), ESP_ERR_NVS_NOT_FOUND);
    CHECK_EQUAL(nvs_set_u32(h, "boots", 1), ESP_OK);
    CHECK_EQUAL(nvs_set_u32(h, "boots", 2), ESP_OK);
    CHECK_EQUAL(nvs_set_u8(h, "u8", 0xAB), ESP_OK);
    CHECK_EQUAL(nvs_set_i64(h, "i64", -5000000000), ESP_OK);
    CHECK_EQUAL(nvs_set_str(h, "name", "a string that takes more than one entry"), ESP_OK);
    uint8_t blob[100];
    memset(blob, 0x5A, sizeof blob);
    CHECK_EQUAL(nvs_set_blob(h, "blob", blob, sizeof blob), ESP_OK);
    CHECK_EQUAL(nvs_set_u8(h, "a_key_that_is_too_long", 1), ESP_ERR_NVS_KEY_TOO_LONG);
    uint8_t u8;
    CHECK_EQUAL(nvs_get_u8(h, "boots", &u8), ESP_ERR_NVS_NOT_FOUND); // it has another type
    CHECK_EQUAL(nvs_commit(h), ESP_OK);
    nvs_close(h);
    CHECK_EQUAL(nvs_set_u8(h, "u8", 1), ESP_ERR_NVS_INVALID_HANDLE);
    CHECK_EQUAL(nvs_open("hotpin", NVS_READONLY, &h), ESP_OK);
    CHECK_EQUAL(nvs_set_u8(h, "u8", 1), ESP_ERR_NVS_READ_ONLY);
}

static void case_nvs_read(void)
{
    nvs_handle_t h;
    CHECK_EQUAL(nvs_flash_init(), ESP_OK);
    CHECK_EQUAL(nvs_open("hotpin", NVS_READWRITE, &h), ESP_OK);
    uint32_t u32 = 0;
    uint8_t u8 = 0;
    int64_t i64 = 0;
    CHECK_EQUAL(nvs_get_u32(h, "boots", &u32), ESP_OK);
    CHECK_EQUAL(u32, 2);
    CHECK_EQUAL(nvs_get_u8(h, "u8", &u8), ESP_OK);
    CHECK_EQUAL(u8, 0xAB);
    CHECK_EQUAL(nvs_get_i64(h, "i64", &i64), ESP_OK);
    CHECK_EQUAL(i64, -5000000000);
    char text[64];
    size_t length = 10;
    CHECK_EQUAL(nvs_get_str(h, "name", text, &length), ESP_ERR_NVS_INVALID_LENGTH);
    CHECK_EQUAL(length, 40);
    CHECK_EQUAL(nvs_get_str(h, "name", text, &length), ESP_OK);
    CHECK(strcmp(text, "a string that takes more than one entry") == 0);
    uint8_t blob[100] = {0};
    length = sizeof blob;
    CHECK_EQUAL(nvs_get_blob(h, "blob", blob, &length), ESP_OK);
    CHECK_EQUAL(length, 100);
    CHECK_EQUAL(blob[99], 0x5A);
    CHECK_EQUAL(nvs_erase_key(h, "u8"), ESP_OK);
    CHECK_EQUAL(nvs_erase_key(h, "u8"), ESP_ERR_NVS_NOT_FOUND);
}

/* Makes more writes than the partition has entries: pages fill, are moved and erased, and no value is
 * lost. */
static void case_nvs_churn(void)
{
    nvs_handle_t h;
    CHECK_EQUAL(nvs_flash_init(), ESP_OK);
    CHECK_EQUAL(nvs_open("churn", NVS_READWRITE, &h), ESP_OK);
    CHECK_EQUAL(nvs_set_u32(h, "kept", 4711), ESP_OK);
    bool right = true;
    static uint8_t s_blob[5000];
    for (uint32_t i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", (unsigned)i % 7);
        right = right && nvs_set_u32(h, key, i) == ESP_OK;
        if (i % 100 == 0) {
            memset(s_blob, (int)i / 100, sizeof s_blob);
            right = right && nvs_set_blob(h, "big", s_blob, sizeof s_blob) == ESP_OK;
        }
    }
    CHECK(right);
    CHECK_EQUAL(nvs_flash_deinit(), ESP_OK);
    CHECK_EQUAL(nvs_flash_init(), ESP_OK);
    CHECK_EQUAL(nvs_open("churn", NVS_READONLY, &h), ESP_OK);
    uint32_t value = 0;
    CHECK_EQUAL(nvs_get_u32(h, "kept", &value), ESP_OK);
    CHECK_EQUAL(value, 4711);
    CHECK_EQUAL(nvs_get_u32(h, "k4", &value), ESP_OK);
    CHECK_EQUAL(value, 1999);
    size_t length = sizeof s_blob;
    memset(s_blob, 0, sizeof s_blob);
    CHECK_EQUAL(nvs_get_blob(h, "big", s_blob, &length), ESP_OK);
    CHECK_EQUAL(length, 5000);
    CHECK_EQUAL(s_blob[4999], 19);
}

static void case_partitions(void)
{
    const esp_partition_t *p =
        esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_COREDUMP, NULL);
    CHECK(p != NULL);
    uint8_t data[4] = {1, 2, 3, 4};
    CHECK_EQUAL(esp_partition_erase_range(p, 0, 4096), ESP_OK);
    CHECK_EQUAL(esp_partition_write(p, 8, data, sizeof data), ESP_OK);
    data[0] = 0xFE;
    CHECK_EQUAL(esp_partition_write(p, 8, data, sizeof data), ESP_OK);
    CHECK_EQUAL(esp_partition_read(p, 8, data, sizeof data), ESP_OK);
    CHECK_EQUAL(data[0], 0); // a write only clears bits
    CHECK_EQUAL(esp_partition_write(p, p->size - 2, data, sizeof data), ESP_ERR_INVALID_SIZE);
    CHECK(esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, "none") == NULL);
}

const test_case_t g_storage_cases[] = {
    {"rtc", case_rtc},
    {"rtc_abort", case_rtc_abort},
    {"identity", case_identity},
    {"nvs_write", case_nvs_write},
    {"nvs_read", case_nvs_read},
    {"nvs_churn", case_nvs_churn},
    {"partitions", case_partitions},
    {NULL, NULL},
};
