/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * I2S_NUM_1 in full duplex: a MAX98357A amplifier and an INMP441 microphone on the same BCLK and WS. The
 * camera needs I2S_NUM_0, the only port with a parallel mode.
 */
#include "audio_backend.h"

#include "driver/i2s_std.h"
#include "esp_check.h"
#include "sdkconfig.h"

static const char *TAG = "AUDIO_I2S";

static i2s_chan_handle_t s_tx;
static i2s_chan_handle_t s_rx;

static i2s_std_config_t channel_config(i2s_slot_mode_t slots)
{
    return (i2s_std_config_t){
        .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(AUDIO_SAMPLE_RATE_HZ),
        .slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_16BIT, slots),
        /* The driver combines the two channels into one full-duplex port because their pins are the same. */
        .gpio_cfg =
            {
                .mclk = I2S_GPIO_UNUSED,
                .bclk = CONFIG_HOTPIN_AUDIO_PIN_BCLK,
                .ws = CONFIG_HOTPIN_AUDIO_PIN_WS,
                .dout = CONFIG_HOTPIN_AUDIO_PIN_DOUT,
                .din = CONFIG_HOTPIN_AUDIO_PIN_DIN,
            },
    };
}

static void delete_channels(void)
{
    /* Deletes in reverse order of creation. A channel that was not created is NULL. */
    if (s_rx != NULL) {
        i2s_del_channel(s_rx);
        s_rx = NULL;
    }
    if (s_tx != NULL) {
        i2s_del_channel(s_tx);
        s_tx = NULL;
    }
}

esp_err_t audio_backend_open(void)
{
    esp_err_t ret = ESP_OK;
    bool tx_enabled = false;
    i2s_chan_config_t channels = I2S_CHANNEL_DEFAULT_CONFIG(I2S_NUM_1, I2S_ROLE_MASTER);
    channels.dma_desc_num = AUDIO_DMA_BUFFERS;
    channels.dma_frame_num = AUDIO_DMA_FRAMES;
    channels.auto_clear_after_cb = true; /* an underrun plays silence instead of repeating the last buffer */
    const i2s_std_config_t playback = channel_config(I2S_SLOT_MODE_STEREO);
    const i2s_std_config_t capture = channel_config(I2S_SLOT_MODE_MONO);

    /* If the second channel cannot be created, the driver keeps the first one: its handle is already set. */
    ESP_GOTO_ON_ERROR(i2s_new_channel(&channels, &s_tx, &s_rx), err, TAG, "I2S port");
    ESP_GOTO_ON_ERROR(i2s_channel_init_std_mode(s_tx, &playback), err, TAG, "playback channel");
    ESP_GOTO_ON_ERROR(i2s_channel_init_std_mode(s_rx, &capture), err, TAG, "capture channel");
    ESP_GOTO_ON_ERROR(i2s_channel_enable(s_tx), err, TAG, "playback does not start");
    tx_enabled = true;
    ESP_GOTO_ON_ERROR(i2s_channel_enable(s_rx), err, TAG, "capture does not start");
    return ESP_OK;

err:
    if (tx_enabled) {
        i2s_channel_disable(s_tx);
    }
    delete_channels();
    return ret;
}

void audio_backend_close(void)
{
    i2s_channel_disable(s_rx);
    i2s_channel_disable(s_tx);
    delete_channels();
}

esp_err_t audio_backend_write(const void *data, size_t len, size_t *written, uint32_t timeout_ms)
{
    return i2s_channel_write(s_tx, data, len, written, timeout_ms);
}

/** Swaps the samples of each pair: the ESP32 stores 16-bit mono samples in pairs, the later sample first. */
static void put_in_order(int16_t *samples, size_t count)
{
    for (size_t i = 0; i + 1 < count; i += 2) {
        int16_t later = samples[i];
        samples[i] = samples[i + 1];
        samples[i + 1] = later;
    }
}

esp_err_t audio_backend_read(void *data, size_t len, size_t *got, uint32_t timeout_ms)
{
    *got = 0; /* the driver leaves it unset when it rejects the call */
    esp_err_t ret = i2s_channel_read(s_rx, data, len, got, timeout_ms);
    put_in_order(data, *got / sizeof(int16_t));
    return ret;
}
