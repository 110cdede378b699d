/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The console and UART 0 in virtual time.
 */
#include <inttypes.h>
#include <string.h>
#include "driver/uart.h"
#include "driver/uart_vfs.h"
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "freertos/task.h"
#include "runtime_test.h"

#define TAG "uart_case"

static void print_line_of(int length)
{
    char line[600];
    memset(line, '.', sizeof line);
    line[length - 1] = '\n';
    line[length] = '\0';
    fputs(line, stdout);
}

static int64_t time_of(void (*write)(int), int length)
{
    vTaskDelay(pdMS_TO_TICKS(200)); // until all output is sent
    int64_t begin = esp_timer_get_time();
    write(length);
    return esp_timer_get_time() - begin;
}

static void write_bytes_of(int length)
{
    char data[600];
    memset(data, '+', sizeof data);
    data[length - 1] = '\n';
    uart_write_bytes(UART_NUM_0, data, (size_t)length);
}

static void install(int queue_size, QueueHandle_t *queue)
{
    CHECK_EQUAL(uart_driver_install(UART_NUM_0, 256, 4096, queue_size, queue, 0), ESP_OK);
    CHECK_EQUAL(uart_driver_install(UART_NUM_0, 256, 4096, queue_size, queue, 0), ESP_FAIL);
    uart_vfs_dev_use_driver(UART_NUM_0);
}

/* Measures how long writes of different lengths block. The Python test compares them with the times on a
 * 115200 baud line. */
static void case_blocking(void)
{
    int64_t polling_short = time_of(print_line_of, 100);
    int64_t polling_long = time_of(print_line_of, 500);
    CHECK_EQUAL(uart_driver_install(UART_NUM_0, 128, 4096, 0, NULL, 0), ESP_FAIL);
    install(0, NULL);
    int64_t stdio_short = time_of(print_line_of, 100);
    int64_t stdio_long = time_of(print_line_of, 500);
    int64_t bytes_long = time_of(write_bytes_of, 500);
    vTaskDelay(pdMS_TO_TICKS(200));
    write_bytes_of(500);
    int64_t begin = esp_timer_get_time();
    CHECK_EQUAL(uart_wait_tx_done(UART_NUM_0, pdMS_TO_TICKS(10)), ESP_ERR_TIMEOUT);
    CHECK_EQUAL(uart_wait_tx_done(UART_NUM_0, portMAX_DELAY), ESP_OK);
    int64_t drained = esp_timer_get_time() - begin;
    printf("polling_short %" PRId64 "\n", polling_short);
    printf("polling_long %" PRId64 "\n", polling_long);
    printf("stdio_short %" PRId64 "\n", stdio_short);
    printf("stdio_long %" PRId64 "\n", stdio_long);
    printf("bytes_long %" PRId64 "\n", bytes_long);
    printf("drained %" PRId64 "\n", drained);
}

/* A low-priority task writes a box of lines while three tasks of higher priority log. */
static volatile bool s_stop;

static void logger(void *name)
{
    while (!s_stop) {
        ESP_LOGI((const char *)name, "a line from another task, long enough to take some time on a UART");
        vTaskDelay(40); // about half of what the UART can send
    }
    vTaskDelete(NULL);
}

static void box(bool locked)
{
    install(0, NULL);
    static const char *const s_names[] = {"log0", "log1", "log2"};
    for (int i = 0; i < 3; i++) {
        xTaskCreate(logger, s_names[i], 3072, (void *)s_names[i], 3, NULL);
    }
    vTaskDelay(10);
    if (locked) {
        flockfile(stdout);
    }
    for (int i = 0; i < 25; i++) {
        printf(
            "box line %02d of 25, with a border that is as long as the real one is .....................\n",
            i);
    }
    if (locked) {
        funlockfile(stdout);
    }
    s_stop = true;
    vTaskDelay(pdMS_TO_TICKS(500));
}

static void case_box_unlocked(void)
{
    box(false);
}

static void case_box_locked(void)
{
    box(true);
}

/* Replies to each line with its length and the board's time. */
static void case_echo(void)
{
    QueueHandle_t queue;
    install(16, &queue);
    printf("ready\n");
    char line[128];
    size_t length = 0;
    while (true) {
        char c;
        if (uart_read_bytes(UART_NUM_0, &c, 1, portMAX_DELAY) != 1) {
            continue;
        }
        if (c != '\n') {
            line[length++ % sizeof line] = c;
            continue;
        }
        printf("got %u '%.*s' random %08" PRIx32 "\n", (unsigned)length, (int)length, line,
               esp_log_timestamp());
        if (length == 4 && memcmp(line, "quit", 4) == 0) {
            return;
        }
        length = 0;
    }
}

static void case_read_timeout(void)
{
    install(0, NULL);
    char data[8];
    TickType_t before = xTaskGetTickCount();
    CHECK_EQUAL(uart_read_bytes(UART_NUM_0, data, sizeof data, 20), 0);
    CHECK_EQUAL(xTaskGetTickCount() - before, 20);
    CHECK_EQUAL(uart_write_bytes(UART_NUM_1, data, 1), -1);
}

/* Runs all activities that could depend on the host's timing: tasks, timers, blocking output. */
static void talker(void *name)
{
    for (int i = 0; i < 40; i++) {
        printf("%s %d at %" PRId64 "\n", (const char *)name, i, esp_timer_get_time());
        vTaskDelay(1 + (TickType_t)(i * 7 + (int)((const char *)name)[0]) % 5);
    }
    vTaskDelete(NULL);
}

static void case_busy_run(void)
{
    install(0, NULL);
    static const char *const s_names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        xTaskCreate(talker, s_names[i], 3072, (void *)s_names[i], 2 + (UBaseType_t)i % 2, NULL);
    }
    vTaskDelay(pdMS_TO_TICKS(2000));
}

static void case_log(void)
{
    ESP_LOGE(TAG, "error %d", 1);
    ESP_LOGI(TAG, "info");
    ESP_LOGD(TAG, "debug");
    CHECK_EQUAL(esp_log_level_get(TAG), ESP_LOG_INFO);
    ESP_LOGW(TAG, "shown");
    ESP_EARLY_LOGI(TAG, "early");
    printf("no newline");
    fflush(stdout);
    puts("");
}

static void case_ring_room(void)
{
    static char s_bytes[1000];
    size_t room = 0;
    memset(s_bytes, '.', sizeof s_bytes);
    fflush(stdout);
    uart_wait_tx_idle_polling(UART_NUM_0); // so that the first write is processed at once
    uart_driver_install(UART_NUM_0, 256, 4096, 0, NULL, 0);
    uart_get_tx_buffer_free_size(UART_NUM_0, &room);
    CHECK_EQUAL(room, 4096 - 8 - 20); // an empty ring reports more than its largest item
    uart_write_bytes(UART_NUM_0, s_bytes, sizeof s_bytes);
    uart_get_tx_buffer_free_size(UART_NUM_0, &room);
    CHECK_EQUAL(room, 2040 + 12 - 20); // the range after the data, and the freed range of the description
    uart_wait_tx_done(UART_NUM_0, portMAX_DELAY);
    uart_get_tx_buffer_free_size(UART_NUM_0, &room);
    CHECK_EQUAL(room, 4096 - 8 - 20);
}

/* Waits until the output is sent, like the console before it hangs the chip. */
static void case_last_words(void)
{
    static const char WORDS[] = "these are the last words\r\n";
    uart_driver_install(UART_NUM_0, 256, 4096, 0, NULL, 0);
    uart_write_bytes(UART_NUM_0, WORDS, sizeof WORDS - 1);
    uart_wait_tx_done(UART_NUM_0, portMAX_DELAY);
    portDISABLE_INTERRUPTS();
    while (true) {
    }
}

const test_case_t g_uart_cases[] = {
    {"blocking", case_blocking},
    {"box_unlocked", case_box_unlocked},
    {"box_locked", case_box_locked},
    {"ring_room", case_ring_room},
    {"echo", case_echo},
    {"read_timeout", case_read_timeout},
    {"busy_run", case_busy_run},
    {"last_words", case_last_words},
    {"log", case_log},
    {NULL, NULL},
};
