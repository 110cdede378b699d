/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <string.h>
#include "esp_flash.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "runtime_test.h"

#define NAME_OFFSET 0x3FF000

static const test_case_t *const s_groups[] = {
    g_alloc_cases, g_kernel_cases, g_panic_cases, g_storage_cases, g_uart_cases,
};

static char s_notes[32768];
static size_t s_notes_length;

void test_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(s_notes + s_notes_length, sizeof s_notes - s_notes_length, format, args);
    va_end(args);
    s_notes_length += length > 0 ? (size_t)length : 0;
}

void app_main(void)
{
    char name[64] = "";
    esp_flash_read(NULL, name, NAME_OFFSET, sizeof name - 1);
    for (size_t i = 0; i < sizeof s_groups / sizeof s_groups[0]; i++) {
        for (const test_case_t *test = s_groups[i]; test->name != NULL; test++) {
            if (strcmp(test->name, name) == 0) {
                test->run();
                printf("%sEND\n", s_notes);
                return;
            }
        }
    }
    printf("no case '%s'\nEND\n", name);
}
