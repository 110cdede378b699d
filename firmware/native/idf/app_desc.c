/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The app description of the running image.
 */
#include "idf/app_desc.h"

#include <stdio.h>
#include <string.h>
#include "chip/params.h"
#include "esp_app_desc.h"
#include "sdkconfig.h"

#ifndef HOTPIN_PROJECT_NAME
#define HOTPIN_PROJECT_NAME "hotpin"
#endif
#ifndef HOTPIN_PROJECT_VERSION
#define HOTPIN_PROJECT_VERSION "0"
#endif

static esp_app_desc_t s_app_desc;

/* As in an ESP-IDF build, a string that fills its field has no terminator. */
static void describe(char field[32], const char *given, const char *built)
{
    const char *text = given != NULL ? given : built;
    memcpy(field, text, strnlen(text, 32));
}

void native_app_desc_init(void)
{
    s_app_desc = (esp_app_desc_t){
        .magic_word = ESP_APP_DESC_MAGIC_WORD,
    };
    describe(s_app_desc.version, g_native_params.project_version, HOTPIN_PROJECT_VERSION);
    describe(s_app_desc.project_name, g_native_params.project_name, HOTPIN_PROJECT_NAME);
    describe(s_app_desc.idf_ver, g_native_params.idf_version, "native");
    memcpy(s_app_desc.app_elf_sha256, g_native_params.elf_sha256, sizeof s_app_desc.app_elf_sha256);
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
