/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * I2S in standard mode: the allocations of ESP-IDF v5.4's driver, block by block and in order (as recorded),
 * and the DMA's progress in virtual time. If memory is missing it behaves like the driver, including two
 * flaws: if the second channel cannot be created, the first channel stays, and a failed interrupt allocation
 * is ignored.
 *
 * The transmitter sends its buffers cyclically; the receiver fills its buffers with a tone.
 */
#include "drivers/i2s.h"

#include <inttypes.h>
#include <string.h>
#include "driver/gpio.h"
#include "driver/i2s_std.h"
#include "drivers/intr.h"
#include "esp_check.h"
#include "esp_heap_caps.h"
#include "esp_rom_crc.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "heap/heap_caps_native.h"
#include "idf/faults.h"
#include "kernel/clock.h"
#include "kernel/object.h"
#include "kernel/queue.h"
#include "sdkconfig.h"

static const char *TAG = "i2s_common";

#if CONFIG_I2S_ISR_IRAM_SAFE
#define OBJECT_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
#else
#define OBJECT_CAPS MALLOC_CAP_DEFAULT
#endif
#define DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)

#define PORTS 2
#define SIZE_CONTROLLER 36
#define SIZE_CHANNEL 152
#define SIZE_MODE_INFO 60
#define SIZE_POINTER 4
#define SIZE_DESCRIPTOR 12
#define DMA_BUFFER_MAX 4092
#define DESCRIPTORS_MAX 32

#define TONE_PERIOD 40 // samples
#define TONE_PEAK 10000

typedef enum { REGISTERED = 1, READY, RUNNING } state_t;

typedef struct controller controller_t;

typedef struct {
    void *block; // block that the object takes on the chip; its address is the handle
    controller_t *controller;
    i2s_dir_t dir;
    i2s_role_t role;
    state_t state;
    bool auto_clear;
    uint32_t desc_num;
    uint32_t frame_num;
    uint32_t frame_bytes;
    uint32_t buf_size;
    uint32_t rate_hz;
    uint32_t rw_pos;
    uint8_t *curr_ptr;
    void *mode_info;
    void *desc_array;
    void *bufs_array;
    void *desc[DESCRIPTORS_MAX];
    uint8_t *bufs[DESCRIPTORS_MAX];
    native_intr_t *intr;
    QueueHandle_t msg_queue; // buffers that may be written or read
    SemaphoreHandle_t mutex;
    SemaphoreHandle_t binary;
    native_event_t done;  // the DMA has reached the end of a buffer
    uint32_t in_progress; // index of the buffer that the DMA uses
    uint64_t started_us;  // start time minus the clock's jumps before it
    uint64_t buffers_done;
    uint64_t position; // position in the tone, samples
} channel_t;

struct controller {
    int id;
    void *block;
    channel_t *tx;
    channel_t *rx;
    native_i2s_line_t line;
};

static controller_t s_controllers[PORTS];

static channel_t *channel_of(i2s_chan_handle_t handle, const char *function)
{
    return native_object_get(handle, NATIVE_I2S_CHANNEL, function);
}

native_i2s_line_t native_i2s_line(i2s_port_t port)
{
    return s_controllers[port].line;
}

/* --- The DMA --- */

static void sent(channel_t *channel, uint8_t *buffer)
{
    native_i2s_line_t *line = &channel->controller->line;
    for (uint32_t at = 0; at < channel->buf_size; at += channel->frame_bytes) {
        bool sounds = false;
        for (uint32_t i = 0; i < channel->frame_bytes; i++) {
            sounds = sounds || buffer[at + i] != 0;
        }
        line->frames++;
        if (sounds) {
            line->sounding++;
            line->crc32 = esp_rom_crc32_le(line->crc32, buffer + at, channel->frame_bytes);
        }
    }
}

static int16_t tone(uint64_t index)
{
    int phase = (int)(index % TONE_PERIOD);
    int rising = phase < TONE_PERIOD / 2 ? phase : TONE_PERIOD - phase;
    return (int16_t)(rising * (4 * TONE_PEAK / TONE_PERIOD) - TONE_PEAK);
}

/* 16-bit samples are stored in pairs. In mono, the chip stores the later sample first. */
static void received(channel_t *channel, uint8_t *buffer)
{
    bool mono = channel->frame_bytes == sizeof(int16_t);
    uint32_t count = channel->buf_size / sizeof(int16_t);
    for (uint32_t i = 0; i < count; i++) {
        int16_t sample = tone(mono ? channel->position + i : channel->position + i / 2);
        memcpy(buffer + (mono ? i ^ 1 : i) * sizeof sample, &sample, sizeof sample);
    }
    channel->position += mono ? count : count / 2;
}

static void arm(channel_t *channel)
{
    uint64_t frames = (channel->buffers_done + 1) * (channel->buf_size / channel->frame_bytes);
    native_event_arm(&channel->done,
                     channel->started_us + native_clock_jumped_us() + frames * 1000000 / channel->rate_hz);
}

static void buffer_done(native_event_t *event)
{
    channel_t *channel = event->context;
    uint8_t *buffer = channel->bufs[channel->in_progress];
    channel->in_progress = (channel->in_progress + 1) % channel->desc_num;
    channel->buffers_done++;
    if (channel->dir == I2S_DIR_TX) {
        sent(channel, buffer);
    } else {
        received(channel, buffer);
    }
    arm(channel);
    if (channel->intr == NULL) {
        return;
    }
    if (xQueueIsQueueFullFromISR(channel->msg_queue)) {
        void *oldest;
        xQueueReceiveFromISR(channel->msg_queue, &oldest, NULL);
    }
    if (channel->dir == I2S_DIR_TX && channel->auto_clear) {
        memset(buffer, 0, channel->buf_size);
    }
    xQueueSendFromISR(channel->msg_queue, &buffer, NULL);
}

/* --- Creating and deleting --- */

static esp_err_t i2s_register_channel(controller_t *controller, i2s_dir_t dir,
                                      const i2s_chan_config_t *config, channel_t **out)
{
    esp_err_t ret = ESP_OK;
    void *block = heap_caps_calloc(1, SIZE_CHANNEL, OBJECT_CAPS);
    ESP_RETURN_ON_FALSE(block != NULL, ESP_ERR_NO_MEM, TAG, "No memory for new channel");
    channel_t *channel = native_host_alloc(sizeof *channel);
    channel->msg_queue =
        native_queue_create_with_caps(config->dma_desc_num - 1, sizeof(void *), SIZE_POINTER, OBJECT_CAPS);
    ESP_GOTO_ON_FALSE(channel->msg_queue != NULL, ESP_ERR_NO_MEM, err, TAG, "No memory for message queue");
    channel->mutex = xSemaphoreCreateMutexWithCaps(OBJECT_CAPS);
    ESP_GOTO_ON_FALSE(channel->mutex != NULL, ESP_ERR_NO_MEM, err, TAG, "No memory for mutex semaphore");
    channel->binary = xSemaphoreCreateBinaryWithCaps(OBJECT_CAPS);
    ESP_GOTO_ON_FALSE(channel->binary != NULL, ESP_ERR_NO_MEM, err, TAG, "No memory for binary semaphore");
    channel->block = block;
    channel->controller = controller;
    channel->dir = dir;
    channel->role = config->role;
    channel->state = REGISTERED;
    channel->auto_clear = config->auto_clear_after_cb || config->auto_clear_before_cb;
    channel->desc_num = config->dma_desc_num;
    channel->frame_num = config->dma_frame_num;
    channel->done.fire = buffer_done;
    channel->done.context = channel;
    native_object_bind(block, NATIVE_I2S_CHANNEL, channel);
    *out = channel;
    return ESP_OK;

err:
    if (channel->msg_queue != NULL) {
        vQueueDeleteWithCaps(channel->msg_queue);
    }
    if (channel->mutex != NULL) {
        vSemaphoreDeleteWithCaps(channel->mutex);
    }
    native_host_free(channel);
    heap_caps_free(block);
    return ret;
}

static controller_t *acquire(i2s_port_t id, bool tx, bool rx)
{
    controller_t *controller = &s_controllers[id];
    if (controller->block == NULL) {
        controller->block = heap_caps_calloc(1, SIZE_CONTROLLER, OBJECT_CAPS);
        if (controller->block == NULL) {
            return NULL;
        }
        controller->id = id;
    }
    return (tx && controller->tx != NULL) || (rx && controller->rx != NULL) ? NULL : controller;
}

static void release_unused(controller_t *controller)
{
    if (controller->tx == NULL && controller->rx == NULL && controller->block != NULL) {
        heap_caps_free(controller->block);
        controller->block = NULL;
    }
}

esp_err_t i2s_new_channel(const i2s_chan_config_t *chan_cfg, i2s_chan_handle_t *ret_tx_handle,
                          i2s_chan_handle_t *ret_rx_handle)
{
    esp_err_t ret = ESP_OK;
    ESP_RETURN_ON_FALSE(chan_cfg != NULL && (ret_tx_handle != NULL || ret_rx_handle != NULL),
                        ESP_ERR_INVALID_ARG, TAG, "input parameter 'chan_cfg' is NULL");
    ESP_RETURN_ON_FALSE(chan_cfg->id <= I2S_NUM_AUTO, ESP_ERR_INVALID_ARG, TAG, "invalid I2S port id");
    ESP_RETURN_ON_FALSE(chan_cfg->dma_desc_num >= 2 && chan_cfg->dma_desc_num <= DESCRIPTORS_MAX,
                        ESP_ERR_INVALID_ARG, TAG, "there should be at least 2 DMA buffers");
    controller_t *controller = NULL;
    i2s_port_t first = chan_cfg->id == I2S_NUM_AUTO ? I2S_NUM_0 : chan_cfg->id;
    i2s_port_t last = chan_cfg->id == I2S_NUM_AUTO ? I2S_NUM_1 : chan_cfg->id;
    for (i2s_port_t id = first; id <= last && controller == NULL; id++) {
        controller = acquire(id, ret_tx_handle != NULL, ret_rx_handle != NULL);
    }
    ESP_RETURN_ON_FALSE(controller != NULL, ESP_ERR_NOT_FOUND, TAG, "get i2s object failed");
    if (ret_tx_handle != NULL) {
        ESP_GOTO_ON_ERROR(i2s_register_channel(controller, I2S_DIR_TX, chan_cfg, &controller->tx), err, TAG,
                          "register I2S tx channel failed");
        *ret_tx_handle = controller->tx->block;
    }
    if (ret_rx_handle != NULL) {
        ESP_GOTO_ON_ERROR(i2s_register_channel(controller, I2S_DIR_RX, chan_cfg, &controller->rx), err, TAG,
                          "register I2S rx channel failed");
        *ret_rx_handle = controller->rx->block;
    }
    return ESP_OK;

err:
    release_unused(controller);
    return ret;
}

static void free_dma(channel_t *channel)
{
    for (uint32_t i = 0; i < channel->desc_num; i++) {
        heap_caps_free(channel->desc[i]);
        channel->desc[i] = NULL;
    }
    heap_caps_free(channel->desc_array);
    channel->desc_array = NULL;
    for (uint32_t i = 0; i < channel->desc_num; i++) {
        heap_caps_free(channel->bufs[i]);
        channel->bufs[i] = NULL;
    }
    heap_caps_free(channel->bufs_array);
    channel->bufs_array = NULL;
    channel->buf_size = 0;
}

esp_err_t i2s_del_channel(i2s_chan_handle_t handle)
{
    ESP_RETURN_ON_FALSE(handle != NULL, ESP_ERR_INVALID_ARG, TAG, "input parameter 'handle' is NULL");
    channel_t *channel = channel_of(handle, __func__);
    ESP_RETURN_ON_FALSE(channel->state < RUNNING, ESP_ERR_INVALID_STATE, TAG,
                        "the channel can't be deleted unless it is disabled");
    controller_t *controller = channel->controller;
    heap_caps_free(channel->mode_info);
    free_dma(channel);
    vQueueDeleteWithCaps(channel->msg_queue);
    vSemaphoreDeleteWithCaps(channel->mutex);
    vSemaphoreDeleteWithCaps(channel->binary);
    if (channel->intr != NULL) {
        native_intr_free(channel->intr);
    }
    *(channel->dir == I2S_DIR_TX ? &controller->tx : &controller->rx) = NULL;
    native_object_unbind(channel->block);
    heap_caps_free(channel->block);
    native_host_free(channel);
    release_unused(controller);
    return ESP_OK;
}

static esp_err_t i2s_alloc_dma_desc(channel_t *channel, uint32_t bufsize)
{
    esp_err_t ret = ESP_OK;
    channel->buf_size = bufsize;
    channel->desc_array = heap_caps_calloc(channel->desc_num, SIZE_POINTER, OBJECT_CAPS);
    ESP_GOTO_ON_FALSE(channel->desc_array != NULL, ESP_ERR_NO_MEM, err, TAG,
                      "create I2S DMA descriptor array failed");
    channel->bufs_array = heap_caps_calloc(channel->desc_num, SIZE_POINTER, OBJECT_CAPS);
    ESP_GOTO_ON_FALSE(channel->bufs_array != NULL, ESP_ERR_NO_MEM, err, TAG,
                      "create I2S DMA buffer array failed");
    for (uint32_t i = 0; i < channel->desc_num; i++) {
        channel->desc[i] = heap_caps_aligned_calloc(4, 1, SIZE_DESCRIPTOR, DMA_CAPS);
        ESP_GOTO_ON_FALSE(channel->desc[i] != NULL, ESP_ERR_NO_MEM, err, TAG,
                          "allocate DMA description failed");
        channel->bufs[i] =
            g_native_faults.i2s_no_memory ? NULL : heap_caps_aligned_calloc(4, 1, bufsize, DMA_CAPS);
        ESP_GOTO_ON_FALSE(channel->bufs[i] != NULL, ESP_ERR_NO_MEM, err, TAG, "allocate DMA buffer failed");
    }
    return ESP_OK;

err:
    free_dma(channel);
    return ret;
}

static bool valid_pin(gpio_num_t pin)
{
    return pin == GPIO_NUM_NC || GPIO_IS_VALID_GPIO(pin);
}

esp_err_t i2s_channel_init_std_mode(i2s_chan_handle_t handle, const i2s_std_config_t *std_cfg)
{
    static const char *STD_TAG = "i2s_std";
    esp_err_t ret = ESP_OK;
    ESP_RETURN_ON_FALSE(handle != NULL && std_cfg != NULL, ESP_ERR_INVALID_ARG, STD_TAG,
                        "input parameter 'handle' is NULL");
    channel_t *channel = channel_of(handle, __func__);
    xSemaphoreTake(channel->mutex, portMAX_DELAY);
    heap_caps_free(channel->mode_info);
    channel->mode_info = heap_caps_calloc_default(1, SIZE_MODE_INFO);
    ESP_GOTO_ON_FALSE(channel->mode_info != NULL, ESP_ERR_NO_MEM, err, STD_TAG,
                      "no memory for storing the configurations");
    ESP_GOTO_ON_FALSE(channel->state == REGISTERED, ESP_ERR_INVALID_STATE, err, STD_TAG,
                      "the channel has initialized already");
    uint32_t sample_bytes = (std_cfg->slot_cfg.data_bit_width + 15) / 16 * 2;
    channel->frame_bytes = sample_bytes * (std_cfg->slot_cfg.slot_mode == I2S_SLOT_MODE_MONO ? 1 : 2);
    channel->rate_hz = std_cfg->clk_cfg.sample_rate_hz;
    uint32_t frames = channel->frame_num;
    if (frames * channel->frame_bytes > DMA_BUFFER_MAX) {
        frames = DMA_BUFFER_MAX / channel->frame_bytes;
        ESP_LOGW(TAG, "dma frame num is out of dma buffer size, limited to %" PRIu32, frames);
    }
    ESP_GOTO_ON_ERROR(i2s_alloc_dma_desc(channel, frames * channel->frame_bytes), err, STD_TAG,
                      "initialize channel failed while setting slot");
    ESP_GOTO_ON_FALSE(channel->rate_hz > 0 && channel->rate_hz <= 192000, ESP_ERR_INVALID_ARG, err, STD_TAG,
                      "initialize channel failed while setting clock");
    ESP_GOTO_ON_FALSE(valid_pin(std_cfg->gpio_cfg.bclk) && valid_pin(std_cfg->gpio_cfg.ws),
                      ESP_ERR_INVALID_ARG, err, STD_TAG, "initialize channel failed while setting gpio pins");
    channel->intr = native_intr_alloc(channel->controller->id == 0 ? NATIVE_INTR_I2S0 : NATIVE_INTR_I2S1);
    channel->state = READY;

err:
    xSemaphoreGive(channel->mutex);
    return ret;
}

/* --- Running --- */

esp_err_t i2s_channel_enable(i2s_chan_handle_t handle)
{
    esp_err_t ret = ESP_OK;
    ESP_RETURN_ON_FALSE(handle != NULL, ESP_ERR_INVALID_ARG, TAG, "input parameter 'handle' is NULL");
    channel_t *channel = channel_of(handle, __func__);
    xSemaphoreTake(channel->mutex, portMAX_DELAY);
    ESP_GOTO_ON_FALSE(channel->state == READY, ESP_ERR_INVALID_STATE, err, TAG,
                      "the channel has already enabled or not initialized");
    channel->started_us = native_now_us() - native_clock_jumped_us();
    channel->buffers_done = 0;
    channel->in_progress = 0;
    arm(channel);
    channel->state = RUNNING;
    if (channel->dir == I2S_DIR_RX) {
        xQueueReset(channel->msg_queue);
    }
    xSemaphoreGive(channel->mutex);
    xSemaphoreGive(channel->binary);
    return ESP_OK;

err:
    xSemaphoreGive(channel->mutex);
    return ret;
}

esp_err_t i2s_channel_disable(i2s_chan_handle_t handle)
{
    esp_err_t ret = ESP_OK;
    ESP_RETURN_ON_FALSE(handle != NULL, ESP_ERR_INVALID_ARG, TAG, "input parameter 'handle' is NULL");
    channel_t *channel = channel_of(handle, __func__);
    xSemaphoreTake(channel->mutex, portMAX_DELAY);
    ESP_GOTO_ON_FALSE(channel->state > READY, ESP_ERR_INVALID_STATE, err, TAG,
                      "the channel has not been enabled yet");
    channel->state = READY;
    xSemaphoreTake(channel->binary, portMAX_DELAY); // wait until no task is in a read or write
    channel->curr_ptr = NULL;
    channel->rw_pos = 0;
    native_event_cancel(&channel->done);
    if (channel->dir == I2S_DIR_TX) {
        xQueueReset(channel->msg_queue);
    }

err:
    xSemaphoreGive(channel->mutex);
    return ret;
}

/* Selects the buffer to continue in: the current buffer or, if it is used up or the DMA is about to reach it,
 * the next buffer in the queue. */
static bool next_buffer(channel_t *channel, uint32_t timeout_ms)
{
    UBaseType_t spare = channel->desc_num > 2 ? 1 : 0;
    if (channel->curr_ptr != NULL && channel->rw_pos < channel->buf_size &&
        uxQueueSpacesAvailable(channel->msg_queue) > spare) {
        return true;
    }
    if (xQueueReceive(channel->msg_queue, &channel->curr_ptr, pdMS_TO_TICKS(timeout_ms)) == pdFALSE) {
        return false;
    }
    channel->rw_pos = 0;
    return true;
}

static esp_err_t transfer(channel_t *channel, uint8_t *to, const uint8_t *from, size_t size, size_t *moved,
                          uint32_t timeout_ms)
{
    esp_err_t ret = ESP_OK;
    size_t done = 0;
    if (moved != NULL) {
        *moved = 0;
    }
    ESP_RETURN_ON_FALSE(xSemaphoreTake(channel->binary, pdMS_TO_TICKS(timeout_ms)) == pdTRUE,
                        ESP_ERR_INVALID_STATE, TAG, "The channel is not enabled");
    while (done < size && channel->state == RUNNING) {
        if (!next_buffer(channel, timeout_ms)) {
            ret = ESP_ERR_TIMEOUT;
            break;
        }
        size_t part = channel->buf_size - channel->rw_pos;
        part = part < size - done ? part : size - done;
        if (from != NULL) {
            memcpy(channel->curr_ptr + channel->rw_pos, from + done, part);
        } else {
            memcpy(to + done, channel->curr_ptr + channel->rw_pos, part);
        }
        channel->rw_pos += part;
        done += part;
    }
    if (moved != NULL) {
        *moved = done;
    }
    xSemaphoreGive(channel->binary);
    return ret;
}

esp_err_t i2s_channel_write(i2s_chan_handle_t handle, const void *src, size_t size, size_t *bytes_written,
                            uint32_t timeout_ms)
{
    ESP_RETURN_ON_FALSE(handle != NULL, ESP_ERR_INVALID_ARG, TAG, "input parameter 'handle' is NULL");
    channel_t *channel = channel_of(handle, __func__);
    ESP_RETURN_ON_FALSE(channel->dir == I2S_DIR_TX, ESP_ERR_INVALID_ARG, TAG,
                        "this channel is not tx channel");
    return transfer(channel, NULL, src, size, bytes_written, timeout_ms);
}

esp_err_t i2s_channel_read(i2s_chan_handle_t handle, void *dest, size_t size, size_t *bytes_read,
                           uint32_t timeout_ms)
{
    ESP_RETURN_ON_FALSE(handle != NULL, ESP_ERR_INVALID_ARG, TAG, "input parameter 'handle' is NULL");
    channel_t *channel = channel_of(handle, __func__);
    ESP_RETURN_ON_FALSE(channel->dir == I2S_DIR_RX, ESP_ERR_INVALID_ARG, TAG,
                        "this channel is not rx channel");
    return transfer(channel, dest, NULL, size, bytes_read, timeout_ms);
}
