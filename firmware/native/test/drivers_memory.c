/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * All drivers together: cycles of modes, a board without PSRAM, the modelled network. The memory manager's
 * start, its observers, and its watch of failed allocations.
 */
#include "audio_driver.h"
#include "camera_controller.h"
#include "drivers_test.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "memory_priority.h"
#include "memory_reclaim.h"
#include "network_model.h"
#include "stt_pipeline.h"
#include "tts_decoder.h"

#define CYCLES 50

static void voice(void)
{
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    CHECK_EQUAL(stt_pipeline_start(), ESP_OK);
    CHECK_EQUAL(stt_pipeline_stop(), ESP_OK);
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
}

static void camera(void)
{
    camera_frame_info_t frame;
    CHECK_EQUAL(camera_controller_init(), ESP_OK);
    CHECK_EQUAL(camera_controller_capture(&frame), ESP_OK);
    CHECK_EQUAL(camera_controller_deinit(), ESP_OK);
}

static void case_cycles(void)
{
    CHECK_EQUAL(network_model_start(), ESP_OK);
    CHECK_EQUAL(stt_pipeline_prepare(), ESP_OK);
    voice();
    camera();
    heaps_t before = heaps_now();
    for (int i = 0; i < CYCLES; i++) {
        voice();
        camera();
    }
    check_heaps("cycles", before, heaps_now());
}

static void case_network(void)
{
    network_model_t taken;
    network_model_get(&taken);
    CHECK_EQUAL(taken.blocks, 0);
    heaps_t before = heaps_now();
    CHECK_EQUAL(network_model_start(), ESP_OK);
    heaps_t after = heaps_now();
    CHECK_EQUAL(network_model_start(), ESP_ERR_INVALID_STATE);
    check_heaps("second start", after, heaps_now());
    network_model_get(&taken);
    test_note("NETWORK internal %d\n", (int)(before.internal_free - after.internal_free));
    test_note("NETWORK psram %d\n", (int)(before.psram_free - after.psram_free));
    test_note("NETWORK largest_buffers %u\n", (unsigned)taken.blocks);
    CHECK_EQUAL(taken.internal_bytes, before.internal_free - after.internal_free);
    CHECK_EQUAL(taken.psram_bytes, before.psram_free - after.psram_free);
    CHECK_EQUAL(taken.blocks, after.blocks - before.blocks);
}

/* Each driver refuses to start, logs the refusal, and leaves no resource allocated. */
static void case_no_psram(void)
{
    CHECK_EQUAL(camera_controller_init(), ESP_ERR_NO_MEM);
    CHECK_EQUAL(stt_pipeline_prepare(), ESP_ERR_NO_MEM);
    CHECK_EQUAL(tts_decoder_open(0), ESP_ERR_NO_MEM);
    CHECK_EQUAL(network_model_start(), ESP_ERR_NO_MEM);
    CHECK_EQUAL(audio_driver_init(), ESP_OK);
    CHECK_EQUAL(stt_pipeline_start(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(audio_driver_deinit(), ESP_OK);
    heaps_t before = heaps_now();
    CHECK_EQUAL(camera_controller_init(), ESP_ERR_NO_MEM);
    CHECK_EQUAL(stt_pipeline_prepare(), ESP_ERR_NO_MEM);
    CHECK_EQUAL(tts_decoder_open(0), ESP_ERR_NO_MEM);
    check_heaps("refused", before, heaps_now());
}

esp_err_t __real_heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback);
esp_err_t __wrap_heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback);

static bool s_refuses_callback;

esp_err_t __wrap_heap_caps_register_failed_alloc_callback(esp_alloc_failed_hook_t callback)
{
    return s_refuses_callback ? ESP_FAIL : __real_heap_caps_register_failed_alloc_callback(callback);
}

/* No snapshots survive a power-on, not even those of a failed initialisation. */
static void case_init_again(void)
{
    size_t count;
    s_refuses_callback = true;
    CHECK_EQUAL(memory_manager_init(NULL), ESP_FAIL);
    CHECK_EQUAL(memory_manager_get_last_boot(NULL, NULL, 0, &count), ESP_ERR_INVALID_STATE);
    s_refuses_callback = false;
    CHECK_EQUAL(memory_manager_init(NULL), ESP_OK);
    CHECK_EQUAL(memory_manager_get_last_boot(NULL, NULL, 0, &count), ESP_ERR_NOT_FOUND);
}

static void warn_always(const memory_observation_t *observation, memory_thresholds_t *thresholds)
{
    thresholds->internal_ram_warning = observation->stats->internal_free + 1;
}

/* One function is enough for an observer. */
static void case_observer(void)
{
    static memory_observer_t none, adapts = {.adapt = warn_always};
    memory_event_t event;
    size_t count;
    CHECK_EQUAL(memory_manager_register_observer(&adapts), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(memory_manager_init(NULL), ESP_OK);
    CHECK_EQUAL(memory_manager_register_observer(NULL), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(memory_manager_register_observer(&none), ESP_ERR_INVALID_ARG);
    CHECK_EQUAL(memory_manager_register_observer(&adapts), ESP_OK);
    CHECK_EQUAL(memory_manager_check_thresholds(), ESP_OK);
    CHECK_EQUAL(memory_manager_get_events(0, &event, 1, &count), ESP_OK);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(event.type, MEMORY_WARNING_INTERNAL_LOW);
}

/* Only the calling task's first failure counts. */
static void allocate_too_much(void *size)
{
    CHECK(heap_caps_malloc((size_t)(uintptr_t)size, MALLOC_CAP_DMA) == NULL);
    vTaskDelete(NULL);
}

static void case_first_failure(void)
{
    const size_t too_much = 1024 * 1024;
    CHECK_EQUAL(memory_manager_init(NULL), ESP_OK);
    CHECK_EQUAL(memory_manager_first_failure(), 0);
    memory_manager_watch_failures();
    CHECK_EQUAL(xTaskCreate(allocate_too_much, "other", 4096, (void *)(uintptr_t)too_much, 20, NULL), pdPASS);
    vTaskDelay(pdMS_TO_TICKS(20));
    CHECK(heap_caps_malloc(too_much + 1, MALLOC_CAP_DMA) == NULL);
    CHECK(heap_caps_malloc(too_much + 2, MALLOC_CAP_DMA) == NULL);
    CHECK_EQUAL(memory_manager_first_failure(), too_much + 1);
    CHECK(heap_caps_malloc(too_much + 3, MALLOC_CAP_DMA) == NULL);
    CHECK_EQUAL(memory_manager_first_failure(), too_much + 1);
    memory_manager_watch_failures();
    CHECK_EQUAL(memory_manager_first_failure(), 0);
}

/* An extension refuses to start before the manager is initialised, and can start afterwards. */
static void case_early_start(void)
{
    CHECK_EQUAL(memory_priority_start(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(memory_reclaim_start(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(memory_manager_init(NULL), ESP_OK);
    CHECK_EQUAL(memory_priority_start(), ESP_OK);
    CHECK_EQUAL(memory_reclaim_start(), ESP_OK);
    CHECK_EQUAL(memory_priority_start(), ESP_ERR_INVALID_STATE);
    CHECK_EQUAL(memory_reclaim_start(), ESP_ERR_INVALID_STATE);
}

const test_case_t g_memory_cases[] = {
    {"early_start", case_early_start}, {"init_again", case_init_again},
    {"observer", case_observer},       {"first_failure", case_first_failure},
    {"cycles", case_cycles},           {"network", case_network},
    {"no_psram", case_no_psram},       {NULL, NULL},
};
