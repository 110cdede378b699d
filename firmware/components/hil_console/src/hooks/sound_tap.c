/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sound_tap.h"

#include <stdbool.h>
#include <stddef.h>

#include "audio_driver.h"
#include "esp_err.h"
#include "esp_rom_crc.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

/* audio_backend.h is private to audio_driver. */
esp_err_t __real_audio_backend_open(void);
esp_err_t __wrap_audio_backend_open(void);
esp_err_t __real_audio_backend_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms);
esp_err_t __wrap_audio_backend_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms);
esp_err_t __real_audio_backend_read(void *data, size_t len, size_t *got, uint32_t timeout_ms);
esp_err_t __wrap_audio_backend_read(void *data, size_t len, size_t *got, uint32_t timeout_ms);

#define FRAME_BYTES (AUDIO_PLAYBACK_CHANNELS * AUDIO_SAMPLE_BYTES)

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static sound_tap_t s_tap;
static bool s_replaces;
static int16_t s_sample; /* the value of each recorded sample if s_replaces */

static uint32_t add(uint32_t crc, const int16_t *sample)
{
    return esp_rom_crc32_le(crc, (const uint8_t *)sample, sizeof(*sample));
}

esp_err_t __wrap_audio_backend_open(void)
{
    sound_tap_reset();
    return __real_audio_backend_open();
}

esp_err_t __wrap_audio_backend_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms)
{
    *written = 0; /* a call that is made to fail does not set it */
    esp_err_t err = __real_audio_backend_write(data, len, written, timeout_ms);
    const int16_t *samples = data;
    sound_tap_t tap;
    sound_tap_get(&tap);
    for (size_t i = 0; i < *written / FRAME_BYTES; i++) {
        tap.left = add(tap.left, &samples[2 * i]);
        tap.right = add(tap.right, &samples[2 * i + 1]);
        tap.frames++;
    }
    taskENTER_CRITICAL(&s_lock); /* only the playback task writes these */
    s_tap.frames = tap.frames;
    s_tap.left = tap.left;
    s_tap.right = tap.right;
    taskEXIT_CRITICAL(&s_lock);
    return err;
}

esp_err_t __wrap_audio_backend_read(void *data, size_t len, size_t *got, uint32_t timeout_ms)
{
    *got = 0;
    esp_err_t err = __real_audio_backend_read(data, len, got, timeout_ms);
    int16_t *samples = data;
    sound_tap_t tap;
    sound_tap_get(&tap);
    for (size_t i = 0; i < *got / sizeof(samples[0]); i++) {
        samples[i] = s_replaces ? s_sample : samples[i];
        tap.recorded = add(tap.recorded, &samples[i]);
        tap.samples++;
    }
    taskENTER_CRITICAL(&s_lock); /* only the task that records writes these */
    s_tap.samples = tap.samples;
    s_tap.recorded = tap.recorded;
    taskEXIT_CRITICAL(&s_lock);
    return err;
}

void sound_tap_get(sound_tap_t *out)
{
    taskENTER_CRITICAL(&s_lock);
    *out = s_tap;
    taskEXIT_CRITICAL(&s_lock);
}

void sound_tap_reset(void)
{
    taskENTER_CRITICAL(&s_lock);
    s_tap = (sound_tap_t){0};
    taskEXIT_CRITICAL(&s_lock);
}

void sound_tap_replace(const int16_t *sample)
{
    taskENTER_CRITICAL(&s_lock);
    s_replaces = sample != NULL;
    s_sample = s_replaces ? *sample : 0;
    taskEXIT_CRITICAL(&s_lock);
}
