/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * esp_err: names of error codes, and the failure of ESP_ERROR_CHECK.
 */
#include <stdio.h>
#include "esp_err.h"
#include "esp_flash.h"
#include "esp_rom_sys.h"
#include "idf/code_address.h"
#include "idf/panic.h"
#include "nvs.h"

#define NAMED(code) \
    {               \
        code, #code \
    }

static const struct {
    esp_err_t code;
    const char *name;
} s_names[] = {
    NAMED(ESP_FAIL),
    NAMED(ESP_OK),
    NAMED(ESP_ERR_NO_MEM),
    NAMED(ESP_ERR_INVALID_ARG),
    NAMED(ESP_ERR_INVALID_STATE),
    NAMED(ESP_ERR_INVALID_SIZE),
    NAMED(ESP_ERR_NOT_FOUND),
    NAMED(ESP_ERR_NOT_SUPPORTED),
    NAMED(ESP_ERR_TIMEOUT),
    NAMED(ESP_ERR_INVALID_RESPONSE),
    NAMED(ESP_ERR_INVALID_CRC),
    NAMED(ESP_ERR_INVALID_VERSION),
    NAMED(ESP_ERR_INVALID_MAC),
    NAMED(ESP_ERR_NOT_FINISHED),
    NAMED(ESP_ERR_NOT_ALLOWED),
    NAMED(ESP_ERR_NVS_BASE),
    NAMED(ESP_ERR_NVS_NOT_INITIALIZED),
    NAMED(ESP_ERR_NVS_NOT_FOUND),
    NAMED(ESP_ERR_NVS_TYPE_MISMATCH),
    NAMED(ESP_ERR_NVS_READ_ONLY),
    NAMED(ESP_ERR_NVS_NOT_ENOUGH_SPACE),
    NAMED(ESP_ERR_NVS_INVALID_NAME),
    NAMED(ESP_ERR_NVS_INVALID_HANDLE),
    NAMED(ESP_ERR_NVS_REMOVE_FAILED),
    NAMED(ESP_ERR_NVS_KEY_TOO_LONG),
    NAMED(ESP_ERR_NVS_PAGE_FULL),
    NAMED(ESP_ERR_NVS_INVALID_STATE),
    NAMED(ESP_ERR_NVS_INVALID_LENGTH),
    NAMED(ESP_ERR_NVS_NO_FREE_PAGES),
    NAMED(ESP_ERR_NVS_VALUE_TOO_LONG),
    NAMED(ESP_ERR_NVS_PART_NOT_FOUND),
    NAMED(ESP_ERR_NVS_NEW_VERSION_FOUND),
    NAMED(ESP_ERR_WIFI_BASE),
    NAMED(ESP_ERR_MESH_BASE),
    NAMED(ESP_ERR_FLASH_BASE),
    NAMED(ESP_ERR_FLASH_OP_FAIL),
    NAMED(ESP_ERR_FLASH_OP_TIMEOUT),
    NAMED(ESP_ERR_HW_CRYPTO_BASE),
    NAMED(ESP_ERR_MEMPROT_BASE),
};

const char *esp_err_to_name(esp_err_t code)
{
    for (size_t i = 0; i < sizeof s_names / sizeof s_names[0]; i++) {
        if (s_names[i].code == code) {
            return s_names[i].name;
        }
    }
    return "UNKNOWN ERROR";
}

static void report(const char *message, const void *caller, esp_err_t rc, const char *file, int line,
                   const char *function, const char *expression)
{
    esp_rom_printf("%s failed: esp_err_t 0x%x", message, (unsigned)rc);
    esp_rom_printf(" (%s)", esp_err_to_name(rc));
    esp_rom_printf(" at 0x%08x\n", (unsigned)native_code_offset((uintptr_t)caller));
    esp_rom_printf("file: \"%s\" line %d\nfunc: %s\nexpression: %s\n", file, line, function, expression);
}

void _esp_error_check_failed(esp_err_t rc, const char *file, int line, const char *function,
                             const char *expression)
{
    report("ESP_ERROR_CHECK", __builtin_return_address(0), rc, file, line, function, expression);
    native_abort_at(__builtin_return_address(0), NULL);
}
