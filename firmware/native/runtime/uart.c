/*
 * UART 0: the FIFO and its line in virtual time, ESP-IDF's driver over it, and stdout's way to either.
 *
 * Bytes leave the transmit FIFO at the baud rate. Without the driver a writer spins until the FIFO has room;
 * with it, bytes go into a ring first and an interrupt refills the FIFO when fewer than 10 bytes are left. As
 * in ESP-IDF the ring is of the no-split kind and each write is two items, so one character of stdout takes
 * 32 bytes of it. The host gets a byte when the firmware writes it, or, paced, when it leaves the FIFO.
 */
#include "native.h"

#include <string.h>
#include "driver/uart.h"
#include "driver/uart_vfs.h"
#include "esp_check.h"
#include "freertos/ringbuf.h"
#include "freertos/semphr.h"

#define FIFO_BYTES SOC_UART_FIFO_LEN
#define RING_ITEM_HEADER 8
#define TX_EMPTY_DEFAULT 10 /* fewer bytes left: interrupt */
#define RX_CHUNK 120        /* RX FIFO full threshold of ESP-IDF */
#define RX_LINE_BYTES 4096  /* paced: bytes on their way */
#define RX_TIMEOUT_BYTES 2
#define BITS_PER_BYTE 10
#define DRIVER_CAPS MALLOC_CAP_DEFAULT
#define SIZE_OBJECT 120 /* sizes of ESP-IDF's driver on the chip */
#define SIZE_RX_STASH (FIFO_BYTES * 4)
#define SIZE_PATTERN_QUEUE (10 * 4)
#define SIZE_EVENT 12
#define WRITE_CALL_US 20 /* what a write to the console costs the CPU, with its formatting */

static const char *UART_TAG = "uart";

/* What ESP-IDF puts before the data of each write: type, break length, size. */
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
    // the item that the interrupt is sending
    uint8_t *item;
    uint8_t *item_next;
    size_t item_left;
    size_t write_left; // of the write the item belongs to
    bool fifo_waiting; // without a ring: a writer waits for the FIFO
} driver_t;

static struct {
    uint32_t baud;
    uint32_t tx_empty_threshold;
    uint32_t fifo_level;
    uint64_t fifo_since_ns; // the first byte in the FIFO started then
    uint8_t fifo[FIFO_BYTES];
    uint32_t fifo_first;
    native_event_t tx_empty;
    native_event_t tx_drained; // paced: hand over what has left the FIFO
    uint8_t rx_line[RX_LINE_BYTES];
    size_t rx_line_length;
    native_event_t rx_arrived;
    uint8_t rx_fifo[FIFO_BYTES];
    size_t rx_fifo_length;
    driver_t *driver;
    native_lock_t module_lock;
} s_uart = {.baud = CONFIG_ESP_CONSOLE_UART_BAUDRATE, .tx_empty_threshold = TX_EMPTY_DEFAULT};

static struct {
    native_lock_t read_lock;
    native_lock_t write_lock;
    esp_line_endings_t tx_endings;
    bool use_driver;
} s_vfs = {
    .read_lock = {.recursive = true},
    .write_lock = {.recursive = true, .precharged = true},
    .tx_endings = ESP_LINE_ENDINGS_CRLF,
};

/* --- the line --- */

static uint64_t byte_ns(void)
{
    return BITS_PER_BYTE * 1000000000ull / s_uart.baud;
}

static uint64_t now_ns(void)
{
    return native_now_us() * 1000;
}

/* Takes what has left the FIFO out of it. */
static void fifo_settle(void)
{
    if (s_uart.fifo_level == 0) {
        s_uart.fifo_since_ns = now_ns();
        return;
    }
    uint64_t gone = (now_ns() - s_uart.fifo_since_ns) / byte_ns();
    gone = gone > s_uart.fifo_level ? s_uart.fifo_level : gone;
    for (uint64_t i = 0; i < gone; i++) {
        if (g_native_params.uart_paced) {
            native_host_write(&s_uart.fifo[s_uart.fifo_first], 1);
        }
        s_uart.fifo_first = (s_uart.fifo_first + 1) % FIFO_BYTES;
    }
    s_uart.fifo_level -= (uint32_t)gone;
    if (g_native_params.uart_paced && s_uart.fifo_level == 0) {
        native_host_flush(); /* it is at the host, also if the firmware now hangs for good */
    }
    s_uart.fifo_since_ns = s_uart.fifo_level == 0 ? now_ns() : s_uart.fifo_since_ns + gone * byte_ns();
}

/* Virtual time at which no more than `level` bytes are left. */
static uint64_t fifo_level_reached_us(uint32_t level)
{
    if (s_uart.fifo_level <= level) {
        return native_now_us();
    }
    return (s_uart.fifo_since_ns + (s_uart.fifo_level - level) * byte_ns() + 999) / 1000;
}

static void fifo_put(uint8_t byte)
{
    s_uart.fifo[(s_uart.fifo_first + s_uart.fifo_level) % FIFO_BYTES] = byte;
    s_uart.fifo_level++;
    if (g_native_params.uart_paced && !s_uart.tx_drained.armed) {
        native_event_arm(&s_uart.tx_drained, fifo_level_reached_us(0));
    }
}

static void on_tx_drained(native_event_t *event)
{
    fifo_settle();
    if (s_uart.fifo_level > 0) {
        native_event_arm(event, fifo_level_reached_us(0));
    }
}

static uint32_t fifo_room(void)
{
    fifo_settle();
    return FIFO_BYTES - s_uart.fifo_level;
}

/* The host gets it now, unless it waits for the line. */
static void hand_over(const void *data, size_t length)
{
    if (!g_native_params.uart_paced) {
        native_host_write(data, length);
    }
}

void native_uart_put_polling(char c)
{
    while (fifo_room() < 2) {
        native_consume_us(fifo_level_reached_us(FIFO_BYTES - 2) - native_now_us());
    }
    fifo_put((uint8_t)c);
    hand_over(&c, 1);
}

void native_uart_wait_idle_polling(void)
{
    fifo_settle();
    while (s_uart.fifo_level > 0) {
        native_consume_us(fifo_level_reached_us(0) - native_now_us());
        fifo_settle();
    }
}

/* --- the driver's interrupt --- */

static void enable_tx_interrupt(void)
{
    fifo_settle();
    native_event_arm(&s_uart.tx_empty, fifo_level_reached_us(s_uart.tx_empty_threshold - 1));
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
    for (uint32_t room = fifo_room(); room > 0; room--) {
        if (driver->item == NULL) {
            next_item(driver);
            if (driver->item == NULL) {
                break;
            }
        }
        fifo_put(*driver->item_next++);
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
        native_event_arm(event, fifo_level_reached_us(s_uart.tx_empty_threshold - 1));
    }
}

static bool tx_idle(void)
{
    fifo_settle();
    return s_uart.fifo_level == 0;
}

/* --- receiving --- */

static void post_event(uart_event_type_t type, size_t size, bool timeout)
{
    if (s_uart.driver->events != NULL) {
        uart_event_t event = {.type = type, .size = size, .timeout_flag = timeout};
        xQueueSendFromISR(s_uart.driver->events, &event, NULL);
    }
}

/* Bytes have come in over the line. */
static void receive(const uint8_t *data, size_t length)
{
    driver_t *driver = s_uart.driver;
    if (driver == NULL) {
        size_t room = FIFO_BYTES - s_uart.rx_fifo_length;
        length = length < room ? length : room;
        memcpy(s_uart.rx_fifo + s_uart.rx_fifo_length, data, length);
        s_uart.rx_fifo_length += length;
        return;
    }
    while (length > 0) {
        size_t part = length < RX_CHUNK ? length : RX_CHUNK;
        if (!xRingbufferSendFromISR(driver->rx_ring, data, part, NULL)) {
            post_event(UART_FIFO_OVF, 0, false); // only on a paced line: see native_uart_rx_room()
            return;
        }
        driver->rx_buffered += part;
        post_event(UART_DATA, part, part < RX_CHUNK);
        data += part;
        length -= part;
    }
}

static void on_rx_arrived(native_event_t *event)
{
    (void)event;
    size_t part = s_uart.rx_line_length < RX_CHUNK ? s_uart.rx_line_length : RX_CHUNK;
    receive(s_uart.rx_line, part);
    s_uart.rx_line_length -= part;
    memmove(s_uart.rx_line, s_uart.rx_line + part, s_uart.rx_line_length);
    if (s_uart.rx_line_length > 0) {
        size_t next = s_uart.rx_line_length < RX_CHUNK ? s_uart.rx_line_length : RX_CHUNK;
        native_event_arm(&s_uart.rx_arrived, native_now_us() + next * byte_ns() / 1000);
    }
}

/* Unpaced, the host is held back and nothing is ever lost. A paced line waits for nobody. */
size_t native_uart_rx_room(void)
{
    if (g_native_params.uart_paced) {
        return RX_LINE_BYTES - s_uart.rx_line_length;
    }
    if (s_uart.driver == NULL) {
        return FIFO_BYTES - s_uart.rx_fifo_length;
    }
    return xRingbufferGetCurFreeSize(s_uart.driver->rx_ring);
}

void native_uart_receive(const uint8_t *data, size_t length)
{
    native_isr_enter();
    if (g_native_params.uart_paced) {
        memcpy(s_uart.rx_line + s_uart.rx_line_length, data, length);
        s_uart.rx_line_length += length;
        if (!s_uart.rx_arrived.armed) {
            size_t first = length < RX_CHUNK ? length + RX_TIMEOUT_BYTES : RX_CHUNK;
            native_event_arm(&s_uart.rx_arrived, native_now_us() + first * byte_ns() / 1000);
        }
    } else {
        receive(data, length);
    }
    native_isr_exit();
}

void native_uart_init(void)
{
    s_uart.tx_empty.fire = on_tx_empty;
    s_uart.tx_drained.fire = on_tx_drained;
    s_uart.rx_arrived.fire = on_rx_arrived;
}

/* --- the driver's API --- */

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

/* Allocations in ESP-IDF's order. */
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
    native_lock_acquire(&s_uart.module_lock); // its first use is where its memory is taken
    native_lock_release(&s_uart.module_lock);
    driver->interrupt = native_intr_alloc(NATIVE_INTR_NOT_SHARED);
    s_uart.driver = driver;
    s_uart.tx_empty_threshold = TX_EMPTY_DEFAULT;
    size_t early = s_uart.rx_fifo_length;
    s_uart.rx_fifo_length = 0;
    if (early > 0) {
        native_isr_enter();
        receive(s_uart.rx_fifo, early);
        native_isr_exit();
        native_preempt();
    }
    return ESP_OK;
}

esp_err_t uart_driver_delete(uart_port_t uart_num)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    if (uart_num != UART_NUM_0 || s_uart.driver == NULL) {
        ESP_LOGI(UART_TAG, "ALREADY NULL");
        return ESP_OK;
    }
    driver_t *driver = s_uart.driver;
    s_uart.driver = NULL;
    native_event_cancel(&s_uart.tx_empty);
    native_intr_free(driver->interrupt);
    heap_caps_free(driver->pattern_queue);
    free_driver(driver);
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
        uint32_t room = fifo_room();
        size_t part = size < room ? size : room;
        for (size_t i = 0; i < part; i++) {
            fifo_put(data[i]);
        }
        hand_over(data, part);
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
            // ESP-IDF spins here: the CPU is busy until the interrupt has made room
            fifo_settle();
            uint64_t until = s_uart.tx_empty.armed ? s_uart.tx_empty.when_us : native_now_us() + 1;
            native_consume_us(until > native_now_us() ? until - native_now_us() : 1);
            continue;
        }
        hand_over(data, part);
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

int uart_tx_chars(uart_port_t uart_num, const char *buffer, uint32_t len)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, -1, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(-1);
    ESP_RETURN_ON_FALSE(buffer, -1, UART_TAG, "buffer null");
    driver_t *driver = s_uart.driver;
    xSemaphoreTake(driver->tx_mux, portMAX_DELAY);
    uint32_t room = fifo_room();
    uint32_t part = len < room ? len : room;
    for (uint32_t i = 0; i < part; i++) {
        fifo_put((uint8_t)buffer[i]);
    }
    hand_over(buffer, part);
    xSemaphoreGive(driver->tx_mux);
    return (int)part;
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

esp_err_t uart_flush_input(uart_port_t uart_num)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(ESP_FAIL);
    driver_t *driver = s_uart.driver;
    xSemaphoreTake(driver->rx_mux, portMAX_DELAY);
    size_t size;
    uint8_t *data;
    while ((data = xRingbufferReceive(driver->rx_ring, &size, 0)) != NULL) {
        driver->rx_buffered -= size;
        vRingbufferReturnItem(driver->rx_ring, data);
    }
    xSemaphoreGive(driver->rx_mux);
    return ESP_OK;
}

esp_err_t uart_flush(uart_port_t uart_num)
{
    return uart_flush_input(uart_num);
}

esp_err_t uart_get_buffered_data_len(uart_port_t uart_num, size_t *size)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(ESP_FAIL);
    *size = s_uart.driver->rx_buffered;
    return ESP_OK;
}

/* The largest item that goes into a free stretch of the ring. */
static size_t item_in(size_t stretch, size_t max_item)
{
    size_t item = stretch > RING_ITEM_HEADER ? (stretch - RING_ITEM_HEADER) & ~(size_t)3 : 0;
    return item < max_item ? item : max_item;
}

/*
 * As the heads of ESP-IDF's releases v5.4 and v5.5 count: all of an empty ring, else one item in each of the
 * (at most two) free stretches. The ring's end is worked out from its largest item, up to 8 bytes short.
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

/* As ESP-IDF: until the transmitter itself is idle, which it also is for a moment between two refills. */
esp_err_t uart_wait_tx_done(uart_port_t uart_num, TickType_t ticks_to_wait)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    RETURN_UNLESS_INSTALLED(ESP_FAIL);
    uint64_t deadline = native_deadline(ticks_to_wait);
    if (xSemaphoreTake(s_uart.driver->tx_mux, ticks_to_wait) != pdTRUE) {
        return ESP_ERR_TIMEOUT;
    }
    while (!tx_idle() && native_now_us() < deadline) {
        uint64_t idle = fifo_level_reached_us(0);
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

esp_err_t uart_set_baudrate(uart_port_t uart_num, uint32_t baudrate)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    ESP_RETURN_ON_FALSE(baudrate > 0 && baudrate <= UART_BITRATE_MAX, ESP_FAIL, UART_TAG, "baud_rate error");
    if (uart_num == UART_NUM_0) {
        fifo_settle();
        s_uart.baud = baudrate;
    }
    return ESP_OK;
}

esp_err_t uart_get_baudrate(uart_port_t uart_num, uint32_t *baudrate)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    *baudrate = s_uart.baud;
    return ESP_OK;
}

esp_err_t uart_param_config(uart_port_t uart_num, const uart_config_t *uart_config)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    ESP_RETURN_ON_FALSE(uart_config, ESP_FAIL, UART_TAG, "param null");
    ESP_RETURN_ON_FALSE(uart_config->data_bits < UART_DATA_BITS_MAX, ESP_FAIL, UART_TAG, "data bit error");
    return uart_set_baudrate(uart_num, (uint32_t)uart_config->baud_rate);
}

esp_err_t uart_set_pin(uart_port_t uart_num, int tx_io_num, int rx_io_num, int rts_io_num, int cts_io_num)
{
    (void)tx_io_num;
    (void)rx_io_num;
    (void)rts_io_num;
    (void)cts_io_num;
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    return ESP_OK;
}

esp_err_t uart_set_rx_full_threshold(uart_port_t uart_num, int threshold)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_ERR_INVALID_ARG, UART_TAG, "uart_num error");
    ESP_RETURN_ON_FALSE(threshold > 0 && threshold < 0x7F, ESP_ERR_INVALID_ARG, UART_TAG,
                        "rx fifo full threshold value error");
    return ESP_OK;
}

esp_err_t uart_set_tx_empty_threshold(uart_port_t uart_num, int threshold)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_ERR_INVALID_ARG, UART_TAG, "uart_num error");
    ESP_RETURN_ON_FALSE(threshold > 0 && threshold < 0x7F, ESP_ERR_INVALID_ARG, UART_TAG,
                        "tx fifo empty threshold value error");
    s_uart.tx_empty_threshold = (uint32_t)threshold;
    return ESP_OK;
}

esp_err_t uart_set_rx_timeout(uart_port_t uart_num, const uint8_t tout_thresh)
{
    (void)tout_thresh;
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_ERR_INVALID_ARG, UART_TAG, "uart_num error");
    return ESP_OK;
}

esp_err_t uart_intr_config(uart_port_t uart_num, const uart_intr_config_t *intr_conf)
{
    ESP_RETURN_ON_FALSE(uart_num < UART_NUM_MAX, ESP_FAIL, UART_TAG, "uart_num error");
    ESP_RETURN_ON_FALSE(intr_conf, ESP_FAIL, UART_TAG, "param null");
    return ESP_OK;
}

/* --- stdout's way here --- */

void uart_vfs_dev_register(void)
{
}

int uart_vfs_dev_port_set_rx_line_endings(int uart_num, esp_line_endings_t mode)
{
    (void)mode; // stdin is not offered
    return uart_num == 0 ? 0 : -1;
}

int uart_vfs_dev_port_set_tx_line_endings(int uart_num, esp_line_endings_t mode)
{
    if (uart_num != 0) {
        return -1;
    }
    s_vfs.tx_endings = mode;
    return 0;
}

static void vfs_use(bool driver)
{
    native_lock_acquire(&s_vfs.read_lock);
    native_lock_acquire(&s_vfs.write_lock);
    s_vfs.use_driver = driver;
    native_lock_release(&s_vfs.write_lock);
    native_lock_release(&s_vfs.read_lock);
}

void uart_vfs_dev_use_driver(int uart_num)
{
    if (uart_num == 0) {
        vfs_use(true);
    }
}

void uart_vfs_dev_use_nonblocking(int uart_num)
{
    if (uart_num == 0) {
        vfs_use(false);
    }
}

static void vfs_put(char c)
{
    if (s_vfs.use_driver && !native_in_isr() && !native_in_critical()) {
        uart_write_bytes(UART_NUM_0, &c, 1);
    } else {
        native_uart_put_polling(c);
    }
}

void native_uart_sync(void)
{
    native_lock_acquire(&s_vfs.write_lock);
    native_uart_wait_idle_polling();
    native_lock_release(&s_vfs.write_lock);
}

void native_uart_vfs_write(const char *data, size_t length)
{
    native_consume_us(WRITE_CALL_US);
    native_lock_acquire(&s_vfs.write_lock);
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\n' && s_vfs.tx_endings != ESP_LINE_ENDINGS_LF) {
            vfs_put('\r');
            if (s_vfs.tx_endings == ESP_LINE_ENDINGS_CR) {
                continue;
            }
        }
        vfs_put(data[i]);
    }
    native_lock_release(&s_vfs.write_lock);
}
