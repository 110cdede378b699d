/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The return from the core dump's own stack, on Xtensa.
 *
 * In ESP-IDF v5.4 and v5.5, core_dump_stack_switch.S expects a11 to survive two calls by callx8, but a11 is
 * the callee's a3. With CONFIG_ESP_COREDUMP_STACK_SIZE, the first load through a11 after the saved core dump
 * is then a second panic, which hides the reason for the reset. The function wrapped here is the last one
 * called before that load, whose value is only printed ("Restoring stack").
 */
#include <stdint.h>

#include "sdkconfig.h"

#if defined(__XTENSA__) && CONFIG_ESP_COREDUMP_STACK_SIZE > 0

void __real_esp_core_dump_report_stack_usage(uint32_t new_sp);
void __wrap_esp_core_dump_report_stack_usage(uint32_t new_sp);

void __wrap_esp_core_dump_report_stack_usage(uint32_t new_sp)
{
    __real_esp_core_dump_report_stack_usage(new_sp);
    __asm__ volatile("mov a3, a1" ::: "a3"); /* makes the caller's a11 an address that can be read */
}

#endif
