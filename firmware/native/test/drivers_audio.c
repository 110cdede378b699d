/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The audio driver and the STT pipeline on the modelled I2S port.
 */
#include <string.h>
#include "audio_chunk.h"
#include "audio_driver.h"
#include "audio_worker.h"
#include "driver/i2s_std.h"
#include "drivers_test.h"
#include "sdkconfig.h"
#include "esp_heap_caps.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "drivers/gpio.h"
#include "drivers/i2s.h"
#include "stt_pipeline.h"

#if CONFIG_FREERTOS_UNICORE
#define TASK_BYTES (8192 + 336 + 8) /* stack, control block, two headers */
#else
#define TASK_BYTES (8192 + 352 + 8)
#endif

/* --- ESP-IDF's driver: its blocks, as recorded --- */

static i2s_chan_handle_t s_tx;
static i2s_chan_handle_t s_rx;

#define BLOCKS_MAX 512
static uintptr_t s_known[BLOCKS_MAX];
static size_t s_known_count;
static size_t s_size_of[BLOCKS_MAX];
static size_t s_count;
static uintptr_t s_found[BLOCKS_MAX];

static bool collect(walker_heap_into_t heap, walker_block_info_t block, void *context)
{
    (void)heap;
    (void)context;
    if (block.used && s_count < BLOCKS_MAX) {
        s_found[s_count] = (uintptr_t)block.ptr;
        s_size_of[s_count++] = block.size;
    }
    return true;
}

static void note_new_blocks(const char *what)
{
    s_count = 0;
    heap_caps_walk_all(collect, NULL);
    test_note("BLOCKS %s:", what);
    for (size_t i = 0; i < s_count; i++) {
        bool known = false;
        for (size_t k = 0; k < s_known_count && !known; k++) {
            known = s_known[k] == s_found[i];
        }
        if (!known) {
            test_note(" %zu", s_size_of[i]);
        }
    }
    test_note("\n");
    memcpy(s_known, s_found, sizeof s_known);
    s_known_count = s_count;
}

static i2s_std_config_t config_of(i2s_slot_mode_t slots)
{
    return (i2s_std_config_t){
        .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(16000),
        .slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_16BIT, slots),
        .gpio_cfg = {.mclk = I2S_GPIO_UNUSED, .bclk = 14, .ws = 15, .dout = 13, .din = 2},
    };
}

static void i2s_round(void)
{
    i2s_chan_config_t channels = I2S_CHANNEL_DEFAULT_CONFIG(I2S_NUM_1, I2S_ROLE_MASTER);
    channels.dma_desc_num = 4;
    channels.dma_frame_num = 1020;
    i2s_std_config_t tx = config_of(I2S_SLOT_MODE_STEREO);
    i2s_std_config_t rx = config_of(I2S_SLOT_MODE_MONO);
    note_new_blocks("-");
    CHECK_EQUAL(i2s_new_channel(&channels, &s_tx, &s_rx), ESP_OK);
    note_new_blocks("new");
    CHECK_EQUAL(i2s_channel_init_std_mode(s_tx, &tx), ESP_OK);
    note_new_blocks("tx");
    CHECK_EQUAL(i2s_channel_init_std_mode(s_rx, &rx), ESP_OK);
    note_new_blocks("rx");
    CHECK_EQUAL(i2s_channel_enable(s_tx), ESP_OK);
    CHECK_EQUAL(i2s_channel_enable(s_rx), ESP_OK);
    note_new_blocks("enable");
    CHECK_EQUAL(i2s_channel_disable(s_rx), ESP_OK);
    CHECK_EQUAL(i2s_channel_disable(s_tx), ESP_OK);
    CHECK_EQUAL(i2s_del_channel(s_rx), ESP_OK);
    CHECK_EQUAL(i2s_del_channel(s_tx), ESP_OK);
}

static void case_i2s_blocks(void)
{
    i2s_round();
    i2s_round();
}

/* --- The audio driver --- */

static void case_audio_memory(void)
{
    heaps_t first = heaps_now();
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    test_note("AUDIO first %d\n", (int)(first.internal_free - heaps_now().internal_free));
    CHECK(audio_driver_is_initialized());
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
    CHECK(!audio_driver_is_initialized());
    heaps_t before = heaps_now();
    test_note("AUDIO kept %d\n", (int)(first.internal_free - before.internal_free));
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    test_note("AUDIO again %d\n", (int)(before.internal_free - heaps_now().internal_free));
    CHECK_EQUAL(before.psram_free, heaps_now().psram_free);
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
    check_heaps("audio given back", before, heaps_now());
}

static void case_audio_arguments(void)
{
    int16_t samples[8] = {0};
    size_t moved = 77;
    CHECK_EQUAL(audio_driver_write(samples, sizeof samples, &moved, 10), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(audio_driver_read(samples, sizeof samples, &moved, 10), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(audio_driver_deinit(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    CHECK_EQUAL(audio_driver_init(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(audio_driver_write(NULL, 4, &moved, 10), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(audio_driver_write(samples, 0, &moved, 10), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(audio_driver_write(samples, 6, &moved, 10), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(audio_driver_read(NULL, 4, &moved, 10), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(audio_driver_read(samples, 2, &moved, 10), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(audio_driver_write(samples, sizeof samples, NULL, 200), ESP_OK);
    CHECK_EQUAL(audio_driver_read(samples, sizeof samples, NULL, 200), ESP_OK);
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
    size_t count = 0;
    const size_t *blocks = audio_driver_blocks(&count);
    CHECK_EQUAL(count, 8);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQUAL(blocks[i], i < 4 ? 4080 : 2040);
    }
}

/* Plays and captures for two seconds at the same time; checks the sample rate and the data. */
static void case_audio_pace(void)
{
    static int16_t s_frames[2 * 500];
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    vTaskDelay(pdMS_TO_TICKS(300));
    native_i2s_line_t before = native_i2s_line(I2S_NUM_1);
    for (size_t i = 0; i < 1000; i++) {
        s_frames[i] = (int16_t)(i + 1);
    }
    int64_t start = esp_timer_get_time();
    for (int i = 0; i < 64; i++) {
        CHECK_EQUAL(audio_driver_write(s_frames, sizeof s_frames, NULL, 200), ESP_OK);
    }
    uint32_t write_ms = elapsed_ms(start);
    vTaskDelay(pdMS_TO_TICKS(AUDIO_PLAYBACK_LATENCY_MS));
    native_i2s_line_t after = native_i2s_line(I2S_NUM_1);
    CHECK_EQUAL(after.sounding - before.sounding, 32000);
    test_note("PACE write %u\n", (unsigned)write_ms);

    static int16_t s_samples[1600];
    int32_t jump = 0;
    uint32_t total = 0;
    int32_t last = 0;
    CHECK_EQUAL(audio_driver_read(s_samples, sizeof s_samples, NULL, 200), ESP_OK); // drop old samples
    CHECK_EQUAL(audio_driver_read(s_samples, sizeof s_samples, NULL, 200), ESP_OK);
    CHECK_EQUAL(audio_driver_read(s_samples, sizeof s_samples, NULL, 200), ESP_OK);
    last = s_samples[1599];
    start = esp_timer_get_time();
    for (int i = 0; i < 20; i++) {
        CHECK_EQUAL(audio_driver_read(s_samples, sizeof s_samples, NULL, 200), ESP_OK);
        for (int k = 0; k < 1600; k++) {
            int32_t step = s_samples[k] - last;
            step = step < 0 ? -step : step;
            jump = step > jump ? step : jump;
            last = s_samples[k];
            total++;
        }
    }
    test_note("PACE read %u\n", (unsigned)elapsed_ms(start));
    CHECK_EQUAL(total, 32000);
    CHECK_EQUAL(jump, 1000); // the tone's slope: no sample is missing or out of order
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
}

static void case_audio_failures(void)
{
    CHECK_EQUAL(audio_driver_init(), ESP_OK); // so that one-time allocations are made now
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
    uint32_t nth = 0;
    bool failed;
    do {
        heaps_t before = heaps_now();
        fail_allocation(++nth);
        esp_err_t err = audio_driver_init();
        failed = allocation_failed();
        if (failed) {
            test_note("FAILED %u 0x%x\n", (unsigned)nth, err);
            CHECK(err == ESP_ERR_NO_MEM || err == ESP_ERR_NOT_FOUND || err == ESP_ERR_TIMEOUT);
            CHECK(!audio_driver_is_initialized());
        } else {
            CHECK_EQUAL(err, ESP_OK);
            CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
        }
        check_heaps("after the failure", before, heaps_now());
    } while (failed && nth < 200);
    test_note("AUDIO allocations %u\n", (unsigned)nth - 1);
}

/* --- Workers: their memory must be free when the join returns --- */

static void short_work(audio_worker_t *worker)
{
    (void)worker;
    vTaskDelay(pdMS_TO_TICKS(20));
}

static void deaf_work(audio_worker_t *worker)
{
    (void)worker;
    vTaskDelay(pdMS_TO_TICKS(1000));
}

static void case_worker(void)
{
    static audio_worker_t s_worker;
    heaps_t before = heaps_now();
    CHECK(!audio_worker_exists(&s_worker));
    CHECK_EQUAL(audio_worker_join(&s_worker, 10), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(audio_worker_start(&s_worker, "short", short_work, 4096, 10, 1), ESP_OK);
    CHECK_EQUAL(audio_worker_start(&s_worker, "short", short_work, 4096, 10, 1), ESP_ERR_INVALID_STATE);
    CHECK(audio_worker_exists(&s_worker));
    CHECK(!audio_worker_is_done(&s_worker));
    vTaskDelay(pdMS_TO_TICKS(30));
    CHECK(audio_worker_is_done(&s_worker));
    CHECK_EQUAL(audio_worker_join(&s_worker, 10), ESP_OK);
    check_heaps("short worker", before, heaps_now());
    CHECK_EQUAL(audio_worker_start(&s_worker, "deaf", deaf_work, 4096, 10, 1), ESP_OK);
    CHECK(!audio_worker_must_stop(&s_worker));
    CHECK_EQUAL(audio_worker_join(&s_worker, 100), ESP_ERR_TIMEOUT);
    CHECK(audio_worker_exists(&s_worker));
    CHECK(audio_worker_must_stop(&s_worker));
    CHECK_EQUAL(audio_worker_join(&s_worker, 2000), ESP_OK);
    check_heaps("deaf worker", before, heaps_now());
    for (uint32_t nth = 1; nth <= 2; nth++) {
        fail_allocation(nth);
        CHECK_EQUAL(audio_worker_start(&s_worker, "none", short_work, 4096, 10, 1), ESP_ERR_NO_MEM);
        CHECK(allocation_failed());
        CHECK(!audio_worker_exists(&s_worker));
        check_heaps("no worker", before, heaps_now());
    }
}

/* --- STT --- */

static void case_stt(void)
{
    static int16_t s_samples[1024];
    stt_pipeline_stats_t stats;
    size_t got = 77;
    CHECK_EQUAL(stt_pipeline_start(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(stt_pipeline_read(s_samples, sizeof s_samples, &got), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(got, 0);
    CHECK_EQUAL(audio_chunk_prepare(), ESP_OK);
    heaps_t empty = heaps_now();
    CHECK_EQUAL(stt_pipeline_prepare(), ESP_OK);
    CHECK_EQUAL(stt_pipeline_prepare(), ESP_OK);
    CHECK_EQUAL(empty.psram_free - heaps_now().psram_free, 65536 + 4);
    CHECK_EQUAL(stt_pipeline_start(), ESP_ERR_INVALID_STATE); // no audio driver
    CHECK_EQUAL(stt_pipeline_stop(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    heaps_t before = heaps_now();
    CHECK_EQUAL(stt_pipeline_start(), ESP_OK);
    CHECK_EQUAL(before.internal_free - heaps_now().internal_free, TASK_BYTES);
    CHECK_EQUAL(before.psram_free, heaps_now().psram_free);
    CHECK_EQUAL(stt_pipeline_start(), ESP_ERR_INVALID_STATE);
    vTaskDelay(pdMS_TO_TICKS(1000));
    stt_pipeline_get_stats(&stats);
    CHECK(stats.running);
    CHECK(stats.samples >= 14000 && stats.samples <= 20000);
    CHECK_EQUAL(stats.dropped, 0);
    CHECK_EQUAL(stats.read_errors, 0);
    CHECK_EQUAL(stats.ring_bytes, 2 * stats.samples);
    CHECK_EQUAL(stats.peak, 10000);
    int32_t jump = 0;
    int32_t last = 0;
    bool first = true;
    do {
        CHECK_EQUAL(stt_pipeline_read(s_samples, sizeof s_samples, &got), ESP_OK);
        for (size_t i = 0; i < got / 2; i++) {
            int32_t step = first ? 0 : s_samples[i] - last;
            step = step < 0 ? -step : step;
            jump = step > jump ? step : jump;
            last = s_samples[i];
            first = false;
        }
    } while (got > 0);
    CHECK_EQUAL(jump, 1000);
    CHECK_EQUAL(stt_pipeline_read(NULL, 1, &got), ESP_ERR_INVALID_ARG);
    vTaskDelay(pdMS_TO_TICKS(4000)); // the ring holds 2.05 s
    stt_pipeline_get_stats(&stats);
    CHECK(stats.dropped > 16000 && stats.dropped < stats.samples);
    CHECK(stats.ring_bytes > 65536 - 1024 && stats.ring_bytes <= 65536);
    CHECK_EQUAL(stt_pipeline_read(s_samples, 3, &got), ESP_OK);
    CHECK_EQUAL(got, 3);
    uint32_t left = stats.ring_bytes - 3;
    vTaskDelay(pdMS_TO_TICKS(200));
    stt_pipeline_get_stats(&stats);
    CHECK_EQUAL(stats.ring_bytes, left); // the full ring has no room for a whole chunk
    CHECK_EQUAL(stt_pipeline_stop(), ESP_OK);
    check_heaps("stt stopped", before, heaps_now());
    stt_pipeline_get_stats(&stats);
    CHECK(!stats.running && stats.samples > 64000);
    CHECK_EQUAL(stt_pipeline_start(), ESP_OK);
    stt_pipeline_get_stats(&stats);
    CHECK(stats.ring_bytes <=
          4 * 2040); // emptied, except for samples that have just been read from the DMA buffers
    CHECK_EQUAL(stt_pipeline_stop(), ESP_OK);
    for (uint32_t nth = 1; nth <= 2; nth++) {
        fail_allocation(nth);
        CHECK_EQUAL(stt_pipeline_start(), ESP_ERR_NO_MEM);
        CHECK(allocation_failed());
        check_heaps("stt refused", before, heaps_now());
    }
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
    CHECK_EQUAL(stt_pipeline_start(), ESP_ERR_INVALID_STATE);
}

const test_case_t g_audio_cases[] = {
    {"i2s_blocks", case_i2s_blocks},
    {"audio_memory", case_audio_memory},
    {"audio_arguments", case_audio_arguments},
    {"audio_pace", case_audio_pace},
    {"audio_failures", case_audio_failures},
    {"worker", case_worker},
    {"stt", case_stt},
    {NULL, NULL},
};
