/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * ESP-IDF's UART driver on top of chip/uart.c.
 *
 * Writes go into a ring; an interrupt refills the FIFO when fewer than 10 bytes are left. As in ESP-IDF the
 * ring is no-split and each write takes two items, so one character of stdout takes 32 bytes of the ring.
 */
#include <string.h>
#include "chip/uart.h"
#include "driver/uart.h"
#include "drivers/intr.h"
#include "esp_check.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/ringbuf.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "idf/uart_vfs.h"
#include "kernel/clock.h"
#include "kernel/lock.h"
#include "kernel/object.h"
#include "kernel/queue.h"
#include "kernel/run.h"
#include "kernel/task.h"
#include "sdkconfig.h"

#define FIFO_BYTES NATIVE_UART_FIFO_BYTES
#define RING_ITEM_HEADER 8
#define TX_EMPTY_DEFAULT 10 /* FIFO level in bytes below which the interrupt triggers */
#define DRIVER_CAPS MALLOC_CAP_DEFAULT
#define SIZE_OBJECT 120 /* this and the next: sizes of the driver's blocks on the chip */
#define SIZE_RX_STASH (FIFO_BYTES * 4)
#define SIZE_PATTERN_QUEUE (10 * 4)
#define SIZE_EVENT 12

static const char *UART_TAG = "uart";

/* ESP-IDF's description of each write: type, break length, size. */
typedef struct {
    uint32_t type;
    uint32_t break_length;
    uint32_t size;
} tx_description_t;

typedef struct {
    void *object;
    void *stash;
    void *pattern_queue;
    native_intr_t *interrupt;
    QueueHandle_t events;
    RingbufHandle_t tx_ring;
    RingbufHandle_t rx_ring;
    SemaphoreHandle_t tx_mux;
    SemaphoreHandle_t rx_mux;
    SemaphoreHandle_t brk_sem;
    SemaphoreHandle_t done_sem;
    SemaphoreHandle_t fifo_sem;
    size_t rx_buffered;
    size_t rx_size;
    size_t tx_size;
    // item that the interrupt is sending
    uint8_t *item;
    uint8_t *item_next;
    size_t item_left;
    size_t write_left; // unsent bytes of the write that this item is part of
    bool fifo_waiting; // driver without a ring: a writer waits for the FIFO
} driver_t;

static struct {
    native_event_t tx_empty;
    driver_t *driver;
    native_lock_t module_lock;
} s_uart;

/* --- Interrupt --- */

static void enable_tx_interrupt(void)
{
    native_uart_settle();
    native_event_arm(&s_uart.tx_empty, native_uart_level_reached_us(TX_EMPTY_DEFAULT - 1));
    native_clock_fire_due();
}

static void next_item(driver_t *driver)
{
    size_t size = 0;
    uint8_t *item = xRingbufferReceiveFromISR(driver->tx_ring, &size);
    if (item == NULL) {
        return;
    }
    if (driver->write_left == 0) {
        tx_description_t description;
        memcpy(&description, item, sizeof description);
        driver->write_left = description.size;
        vRingbufferReturnItemFromISR(driver->tx_ring, item, NULL);
        next_item(driver);
        return;
    }
    driver->item = item;
    driver->item_next = item;
    driver->item_left = size;
}

static void on_tx_empty(native_event_t *event)
{
    driver_t *driver = s_uart.driver;
    if (driver == NULL) {
        return;
    }
    if (driver->tx_size == 0) {
        if (driver->fifo_waiting) {
            driver->fifo_waiting = false;
            xSemaphoreGiveFromISR(driver->fifo_sem, NULL);
        }
        return;
    }
    bool sent = false;
    for (uint32_t room = native_uart_room(); room > 0; room--) {
        if (driver->item == NULL) {
            next_item(driver);
            if (driver->item == NULL) {
                break;
            }
        }
        native_uart_put(*driver->item_next++);
        sent = true;
        driver->item_left--;
        driver->write_left--;
        if (driver->item_left == 0) {
            uint8_t *item = driver->item;
            driver->item = NULL;
            vRingbufferReturnItemFromISR(driver->tx_ring, item, NULL);
        }
    }
    if (sent) {
        native_event_arm(event, native_uart_level_reached_us(TX_EMPTY_DEFAULT - 1));
    }
}

static bool tx_idle(void)
{
    return native_uart_room() == FIFO_BYTES;
}

/* --- Receiving --- */

static void post_event(uart_event_type_t type, size_t size, bool timeout)
{
    if (s_uart.driver->events != NULL) {
        uart_event_t event = {.type = type, .size = size, .timeout_flag = timeout};
        xQueueSendFromISR(s_uart.driver->events, &event, NULL);
    }
}

static size_t rx_room(void)
{
    return xRingbufferGetCurFreeSize(s_uart.driver->rx_ring);
}

static void receive(const uint8_t *data, size_t length)
{
    driver_t *driver = s_uart.driver;
    while (length > 0) {
        size_t part = length < NATIVE_UART_RX_CHUNK ? length : NATIVE_UART_RX_CHUNK;
        if (!xRingbufferSendFromISR(driver->rx_ring, data, part, NULL)) {
            post_event(UART_FIFO_OVF, 0, false); // happens only on a paced line, see chip/uart.c
            return;
        }
        driver->rx_buffered += part;
        post_event(UART_DATA, part, part < NATIVE_UART_RX_CHUNK);
        data += part;
        length -= part;
    }
}

/* --- API --- */

static void free_driver(driver_t *driver)
{
    SemaphoreHandle_t semaphores[] = {driver->fifo_sem, driver->done_sem, driver->brk_sem, driver->tx_mux,
                                      driver->rx_mux};
    for (size_t i = 0; i < sizeof semaphores / sizeof semaphores[0]; i++) {
        if (semaphores[i] != NULL) {
            vSemaphoreDeleteWithCaps(semaphores[i]);
        }
    }
    if (driver->events != NULL) {
        vQueueDeleteWithCaps(driver->events);
    }
    if (driver->rx_ring != NULL) {
        vRingbufferDeleteWithCaps(driver->rx_ring);
    }
    if (driver->tx_ring != NULL) {
        vRingbufferDeleteWithCaps(driver->tx_ring);
    }
    heap_caps_free(driver->stash);
    heap_caps_free(driver->object);
    native_host_free(driver);
}

/* Makes ESP-IDF's allocations in its order. */
static driver_t *new_driver(int rx_size, int tx_size, int queue_size)
{
    driver_t *driver = native_host_alloc(sizeof *driver);
    driver->rx_size = (size_t)rx_size;
    driver->tx_size = (size_t)tx_size;
    driver->object = heap_caps_calloc(1, SIZE_OBJECT, DRIVER_CAPS);
    driver->stash = driver->object == NULL ? NULL : heap_caps_calloc(1, SIZE_RX_STASH, DRIVER_CAPS);
    bool ok = driver->stash != NULL;
    if (ok && queue_size > 0) {
        driver->events = native_queue_create_with_caps((UBaseType_t)queue_size, sizeof(uart_event_t),
                                                       SIZE_EVENT, DRIVER_CAPS);
        ok = driver->events != NULL;
    }
    if (ok && tx_size > 0) {
        driver->tx_ring = xRingbufferCreateWithCaps(driver->tx_size, RINGBUF_TYPE_NOSPLIT, DRIVER_CAPS);
        ok = driver->tx_ring != NULL;
    }
    if (ok) {
        driver->rx_ring = xRingbufferCreateWithCaps(driver->rx_size, RINGBUF_TYPE_BYTEBUF, DRIVER_CAPS);
        driver->tx_mux = xSemaphoreCreateMutexWithCaps(DRIVER_CAPS);
        driver->rx_mux = xSemaphoreCreateMutexWithCaps(DRIVER_CAPS);
        driver->brk_sem = xSemaphoreCreateBinaryWithCaps(DRIVER_CAPS);
        driver->done_sem = xSemaphoreCreateBinaryWithCaps(DRIVER_CAPS);
        driver->fifo_sem = xSemaphoreCreateBinaryWithCaps(DRIVER_CAPS);
        ok = driver->rx_ring != NULL && driver->tx_mux != NULL && driver->rx_mux != NULL &&
             driver->brk_sem != NULL && driver->done_sem != NULL && driver->fifo_sem != NULL;
    }
    if (!ok) {
        free_driver(driver);
        return NULL;
    }
    return driver;
}

static void write_from_vfs(char c)
{
    uart_write_bytes(UART_NUM_0, &c, 1);
}

esp_err_t uart_driver_install(uart_port_t uart_num, int rx_buffer_size, int tx_buffer_size, int queue_size,
                              QueueHandle_t *uart_queue, int intr_alloc_flags)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    ESP_RETURN_ON_FALSE(rx_buffer_size > FIFO_BYTES, ESP_FAIL, UART_TAG, "uart rx buffer length error");
    ESP_RETURN_ON_FALSE(tx_buffer_size > FIFO_BYTES || tx_buffer_size == 0, ESP_FAIL, UART_TAG,
                        "uart tx buffer length error");
    ESP_RETURN_ON_FALSE(uart_num == UART_NUM_0, ESP_FAIL, UART_TAG, "the host build has UART 0 only");
    if ((intr_alloc_flags & ESP_INTR_FLAG_IRAM) != 0) {
        ESP_LOGW(UART_TAG,
                 "ESP_INTR_FLAG_IRAM flag is set while CONFIG_UART_ISR_IN_IRAM is not enabled, flag updated");
    }
    if (s_uart.driver != NULL) {
        ESP_LOGE(UART_TAG, "UART driver already installed");
        return ESP_FAIL;
    }
    driver_t *driver = new_driver(rx_buffer_size, tx_buffer_size, queue_size);
    if (driver == NULL) {
        ESP_LOGE(UART_TAG, "UART driver malloc error");
        return ESP_FAIL;
    }
    xSemaphoreGive(driver->fifo_sem);
    driver->pattern_queue = heap_caps_malloc(SIZE_PATTERN_QUEUE, DRIVER_CAPS);
    if (uart_queue != NULL) {
        *uart_queue = driver->events;
        ESP_LOGI(UART_TAG, "queue free spaces: %d", queue_size);
    }
    native_lock_acquire(&s_uart.module_lock); // its memory is allocated at its first use
    native_lock_release(&s_uart.module_lock);
    driver->interrupt = native_intr_alloc(NATIVE_INTR_NOT_SHARED);
    s_uart.driver = driver;
    s_uart.tx_empty.fire = on_tx_empty;
    native_uart_set_receiver((native_uart_receiver_t){.room = rx_room, .receive = receive});
    native_uart_vfs_set_driver(write_from_vfs);
    native_preempt();
    return ESP_OK;
}

bool uart_is_driver_installed(uart_port_t uart_num)
{
    return uart_num == UART_NUM_0 && s_uart.driver != NULL;
}

#define RETURN_UNLESS_INSTALLED(value) \
    ESP_RETURN_ON_FALSE(uart_is_driver_installed(uart_num), value, UART_TAG, "uart driver error")

static void write_by_fifo(driver_t *driver, const uint8_t *data, size_t size)
{
    while (size > 0) {
        xSemaphoreTake(driver->fifo_sem, portMAX_DELAY);
        uint32_t room = native_uart_room();
        size_t part = size < room ? size : room;
        for (size_t i = 0; i < part; i++) {
            native_uart_put(data[i]);
        }
        native_uart_hand_over(data, part);
        data += part;
        size -= part;
        if (size > 0) {
            driver->fifo_waiting = true;
            enable_tx_interrupt();
        }
    }
    xSemaphoreGive(driver->fifo_sem);
}

static void write_by_ring(driver_t *driver, const uint8_t *data, size_t size)
{
    tx_description_t description = {.size = (uint32_t)size};
    xRingbufferSend(driver->tx_ring, &description, sizeof description, portMAX_DELAY);
    while (size > 0) {
        size_t room = xRingbufferGetCurFreeSize(driver->tx_ring);
        size_t part = size < room ? size : room;
        if (part == 0) {
            // like ESP-IDF, spin until the interrupt has made room
            native_uart_settle();
            uint64_t until = s_uart.tx_empty.armed ? s_uart.tx_empty.when_us : native_now_us() + 1;
            native_consume_us(until > native_now_us() ? until - native_now_us() : 1);
            continue;
        }
        native_uart_hand_over(data, part);
        xRingbufferSend(driver->tx_ring, data, part, portMAX_DELAY);
        data += part;
        size -= part;
        enable_tx_interrupt();
    }
}

int uart_write_bytes(uart_port_t uart_num, const void *src, size_t size)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, -1, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(-1);
    ESP_RETURN_ON_FALSE(src, -1, UART_TAG, "buffer null");
    if (size == 0) {
        return 0;
    }
    driver_t *driver = s_uart.driver;
    xSemaphoreTake(driver->tx_mux, portMAX_DELAY);
    if (driver->tx_size > 0) {
        write_by_ring(driver, src, size);
    } else {
        write_by_fifo(driver, src, size);
    }
    xSemaphoreGive(driver->tx_mux);
    return (int)size;
}

int uart_read_bytes(uart_port_t uart_num, void *buf, uint32_t length, TickType_t ticks_to_wait)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, -1, UART_TAG, "uart_num error");
    ESP_RETURN_ON_FALSE(buf, -1, UART_TAG, "uart data null");
    RETURN_UNLESS_INSTALLED(-1);
    driver_t *driver = s_uart.driver;
    if (xSemaphoreTake(driver->rx_mux, ticks_to_wait) != pdTRUE) {
        return -1;
    }
    size_t copied = 0;
    while (copied < length) {
        size_t size = 0;
        uint8_t *data = xRingbufferReceiveUpTo(driver->rx_ring, &size, ticks_to_wait, length - copied);
        if (data == NULL) {
            break;
        }
        memcpy((uint8_t *)buf + copied, data, size);
        driver->rx_buffered -= size;
        copied += size;
        vRingbufferReturnItem(driver->rx_ring, data);
    }
    xSemaphoreGive(driver->rx_mux);
    return (int)copied;
}

esp_err_t uart_get_buffered_data_len(uart_port_t uart_num, size_t *size)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(ESP_FAIL);
    *size = s_uart.driver->rx_buffered;
    return ESP_OK;
}

/* The largest item that fits into a free range of the ring. */
static size_t item_in(size_t stretch, size_t max_item)
{
    size_t item = stretch > RING_ITEM_HEADER ? (stretch - RING_ITEM_HEADER) & ~(size_t)3 : 0;
    return item < max_item ? item : max_item;
}

/*
 * Free bytes as counted by ESP-IDF's release branches v5.4 and v5.5: the whole ring if it is empty, otherwise
 * one item in each of the (at most two) free ranges. ESP-IDF derives the ring's length from its largest item,
 * so the result is up to 8 bytes too small.
 */
static size_t ring_room(const driver_t *driver)
{
    UBaseType_t oldest, next, unread;
    if (xRingbufferGetCurFreeSize(driver->tx_ring) == 0) {
        return 0;
    }
    vRingbufferGetInfo(driver->tx_ring, &oldest, NULL, NULL, &next, &unread);
    size_t max_item = xRingbufferGetMaxItemSize(driver->tx_ring);
    size_t end = 2 * (max_item + RING_ITEM_HEADER - 3) & ~(size_t)3;
    if (next == oldest && unread == 0) {
        return driver->tx_size - RING_ITEM_HEADER;
    }
    if (next <= oldest) {
        return item_in(oldest - next, max_item);
    }
    return item_in(end > next ? end - next : 0, max_item) + item_in(oldest, max_item);
}

esp_err_t uart_get_tx_buffer_free_size(uart_port_t uart_num, size_t *size)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_ERR_INVALID_ARG, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(ESP_ERR_INVALID_ARG);
    ESP_RETURN_ON_FALSE(size != NULL, ESP_ERR_INVALID_ARG, UART_TAG, "arg pointer is NULL");
    size_t room = s_uart.driver->tx_size == 0 ? 0 : ring_room(s_uart.driver);
    size_t description = RING_ITEM_HEADER + sizeof(tx_description_t);
    *size = room > description ? room - description : 0;
    return ESP_OK;
}

/* As in ESP-IDF, waits until the transmitter is idle. That is also the case for a moment between two
 * refills. */
esp_err_t uart_wait_tx_done(uart_port_t uart_num, TickType_t ticks_to_wait)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(ESP_FAIL);
    uint64_t deadline = native_deadline(ticks_to_wait);
    if (xSemaphoreTake(s_uart.driver->tx_mux, ticks_to_wait) != pdTRUE) {
        return ESP_ERR_TIMEOUT;
    }
    while (!tx_idle() && native_now_us() < deadline) {
        uint64_t idle = native_uart_level_reached_us(0);
        native_wait(NULL, idle < deadline ? idle : deadline);
    }
    esp_err_t err = tx_idle() ? ESP_OK : ESP_ERR_TIMEOUT;
    xSemaphoreGive(s_uart.driver->tx_mux);
    return err;
}

esp_err_t uart_wait_tx_idle_polling(uart_port_t uart_num)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_ERR_INVALID_ARG, UART_TAG, "uart_num error");
    if (uart_num == UART_NUM_0) {
        native_uart_wait_idle_polling();
    }
    return ESP_OK;
}
