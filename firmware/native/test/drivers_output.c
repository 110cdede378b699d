/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Telemetry's output to the UART.
 */
#include <string.h>
#include "drivers_test.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "telemetry.h"

#define PIECES 24 /* three times the ring's capacity */

static volatile bool s_writing;
static volatile uint32_t s_turns;

static void take_turns(void *arg)
{
    (void)arg;
    while (s_writing) {
        vTaskDelay(1);
        s_turns++;
    }
    vTaskDelete(NULL);
}

/* A task that waits for the UART lets tasks of lower priority run. */
static void case_output_full(void)
{
    static char s_piece[TELEMETRY_SCRATCH_SIZE];
    memset(s_piece, '.', sizeof s_piece);
    memcpy(s_piece + sizeof s_piece - 2, "\r\n", 2);
    CHECK_EQUAL(telemetry_init(), ESP_OK);
    vTaskPrioritySet(NULL, 5);
    s_writing = true;
    CHECK_EQUAL(xTaskCreate(take_turns, "turns", 4096, NULL, 1, NULL), pdPASS);
    int64_t start_us = esp_timer_get_time();
    for (int i = 0; i < PIECES; i++) {
        telemetry_lock();
        telemetry_write(s_piece, sizeof s_piece);
        telemetry_unlock();
    }
    uint32_t waited_ms = elapsed_ms(start_us);
    s_writing = false;
    test_note("OUTPUT waited_ms %u\n", (unsigned)waited_ms);
    test_note("OUTPUT turns %u\n", (unsigned)s_turns);
}

static void case_boot_event(void)
{
    CHECK_EQUAL(telemetry_init(), ESP_OK);
    CHECK_EQUAL(telemetry_send_boot(), ESP_OK);
}

const test_case_t g_output_cases[] = {
    {"boot_event", case_boot_event},
    {"output_full", case_output_full},
    {NULL, NULL},
};
