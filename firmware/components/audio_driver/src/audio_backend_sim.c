/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Simulated audio hardware for QEMU, where I2S transfers no samples. It allocates the blocks that were
 * recorded from ESP-IDF's driver, in the same order, and frees them when the driver would. Playback consumes
 * samples at the sample rate, and the microphone delivers a tone.
 */
#include <stdlib.h>
#include <string.h>

#include "array_size.h"
#include "audio_backend.h"
#include "esp_check.h"
#include "esp_heap_caps.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

static const char *TAG = "AUDIO_SIM";

#define OBJECT_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
#define LINE_FRAMES ((int64_t)AUDIO_DMA_BUFFERS * AUDIO_DMA_FRAMES)
#define TONE_PERIOD 40 /* samples: 400 Hz */
#define TONE_PEAK 10000

typedef struct {
    uint16_t size;
    bool dma;
} block_t;

/* clang-format off */
#define CHANNEL_OBJECTS {152, false}, {84, false}, {12, false}, {84, false}, {84, false}
#define CHANNEL_BUFFERS(size)                                                  \
    {60, false}, {16, false}, {16, false},                                     \
    {12, true}, {size, true}, {12, true}, {size, true},                        \
    {12, true}, {size, true}, {12, true}, {size, true},                        \
    {8, false}, {24, false}
static const block_t BLOCKS[] = {
    {36, false},
    CHANNEL_OBJECTS,
    CHANNEL_OBJECTS,
    CHANNEL_BUFFERS(AUDIO_PLAYBACK_BUFFER_BYTES),
    CHANNEL_BUFFERS(AUDIO_CAPTURE_BUFFER_BYTES),
};
/* clang-format on */
#define BLOCK_COUNT ARRAY_SIZE(BLOCKS)

static void *s_blocks[BLOCK_COUNT];
static int64_t s_start_us;
static int64_t s_played;   /* frames accepted since start */
static int64_t s_captured; /* samples delivered since start */

static void free_blocks(void)
{
    for (size_t i = BLOCK_COUNT; i-- > 0;) {
        heap_caps_free(s_blocks[i]);
        s_blocks[i] = NULL;
    }
}

esp_err_t audio_backend_open(void)
{
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        s_blocks[i] = heap_caps_calloc(1, BLOCKS[i].size, BLOCKS[i].dma ? AUDIO_DMA_CAPS : OBJECT_CAPS);
        if (s_blocks[i] == NULL) {
            ESP_LOGE(TAG, "no free block of %u bytes", BLOCKS[i].size);
            free_blocks();
            return ESP_ERR_NO_MEM;
        }
    }
    s_start_us = esp_timer_get_time();
    s_played = 0;
    s_captured = 0;
    return ESP_OK;
}

void audio_backend_close(void)
{
    free_blocks();
}

/** Number of frames that the simulated hardware has played and captured since start. */
static int64_t line_position(void)
{
    return (esp_timer_get_time() - s_start_us) * (int64_t)AUDIO_SAMPLE_RATE_HZ / 1000000;
}

/** Waits until line_position() has reached the frame. @return false after timeout_ms */
static bool wait_for_line(int64_t frame, uint32_t timeout_ms)
{
    TickType_t start = xTaskGetTickCount();
    while (line_position() < frame) {
        if (xTaskGetTickCount() - start >= pdMS_TO_TICKS(timeout_ms)) {
            return false;
        }
        vTaskDelay(1);
    }
    return true;
}

esp_err_t audio_backend_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms)
{
    (void)data;
    *written = 0;
    while (len > 0) {
        int64_t line = line_position();
        if (s_played < line) {
            s_played = line; /* underrun: silence was played */
        }
        if (!wait_for_line(s_played + 1 - LINE_FRAMES, timeout_ms)) {
            return ESP_ERR_TIMEOUT;
        }
        int64_t room = line_position() + LINE_FRAMES - s_played;
        size_t frames = len / AUDIO_PLAYBACK_FRAME_BYTES;
        if ((int64_t)frames > room) {
            frames = (size_t)room;
        }
        s_played += frames;
        *written += frames * AUDIO_PLAYBACK_FRAME_BYTES;
        len -= frames * AUDIO_PLAYBACK_FRAME_BYTES;
    }
    return ESP_OK;
}

/** A triangle of TONE_PERIOD samples between -TONE_PEAK and TONE_PEAK. */
static int16_t tone(int64_t index)
{
    int phase = (int)(index % TONE_PERIOD);
    int rising = phase < TONE_PERIOD / 2 ? phase : TONE_PERIOD - phase;
    return (int16_t)(rising * (4 * TONE_PEAK / TONE_PERIOD) - TONE_PEAK);
}

esp_err_t audio_backend_read(void *data, size_t len, size_t *got, uint32_t timeout_ms)
{
    int16_t *samples = data;
    size_t count = len / sizeof(int16_t);
    *got = 0;
    if (s_captured < line_position() - LINE_FRAMES) {
        s_captured = line_position() - LINE_FRAMES; /* overrun: the oldest samples are lost */
    }
    for (size_t i = 0; i < count; i++) {
        if (!wait_for_line(s_captured + 1, timeout_ms)) {
            return ESP_ERR_TIMEOUT;
        }
        samples[i] = tone(s_captured++);
        *got += sizeof(int16_t);
    }
    return ESP_OK;
}
