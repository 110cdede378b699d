/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mode_admission.h"

#include "array_size.h"
#include "audio_driver.h"
#include "camera_controller.h"
#include "esp_heap_caps.h"
#include "memory_manager.h"
#include "sdkconfig.h"
#include "stt_pipeline.h"

typedef struct {
    const char *block;
    const size_t *(*sizes)(size_t *count);
} need_t;

/* On the ESP32, INTERNAL | 8BIT (requested for task stacks) selects the same heaps as DMA. */
#define DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)
#define PSRAM_CAPS (MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT)

static const need_t CAMERA_DMA[] = {{"camera DMA", camera_controller_blocks}};
enum { SMALL_BLOCKS, FRAME };
static const need_t CAMERA_PSRAM[] = {
    [SMALL_BLOCKS] = {"camera PSRAM", camera_controller_psram_blocks},
    [FRAME] = {"camera frame", camera_controller_frame_blocks},
};
static const need_t VOICE_DMA[] = {{"I2S DMA", audio_driver_blocks}, {"STT task", stt_pipeline_blocks}};

/** Checks that the blocks of all `needs` fit together. */
static esp_err_t admit(const need_t *needs, size_t need_count, uint32_t caps, mode_shortage_t *shortage)
{
    size_t sizes[MEMORY_PLACE_MAX];
    const char *names[MEMORY_PLACE_MAX];
    size_t numbers[MEMORY_PLACE_MAX];
    size_t count = 0;
    size_t needed = 0;
    for (size_t n = 0; n < need_count; n++) {
        size_t blocks = 0;
        const size_t *block = needs[n].sizes(&blocks);
        for (size_t i = 0; i < blocks; i++) {
            if (count == MEMORY_PLACE_MAX) {
                return ESP_ERR_INVALID_SIZE;
            }
            sizes[count] = block[i];
            needed += block[i];
            names[count] = needs[n].block;
            numbers[count++] = i + 1;
        }
    }
    if (count == 0) {
        return ESP_OK;
    }
    memory_placement_t placement;
    esp_err_t err = memory_manager_place(caps, sizes, count, &placement);
    if (err != ESP_OK || placement.placeable) {
        return err;
    }
    *shortage = (mode_shortage_t){
        .block = names[placement.placed],
        .caps = caps,
        .number = numbers[placement.placed],
        .missing = placement.missing,
        .largest = placement.largest,
        .free = (uint32_t)heap_caps_get_free_size(caps),
        .needed = (uint32_t)needed,
    };
    return ESP_ERR_NO_MEM;
}

#define NEEDS(table) (table), ARRAY_SIZE(table)

/** Checks the blocks that the mode's drivers allocate each time. */
static esp_err_t admit_drivers(system_state_t mode, mode_shortage_t *shortage)
{
    if (mode == SYSTEM_STATE_CAMERA_STANDBY) {
        esp_err_t err = admit(NEEDS(CAMERA_DMA), DMA_CAPS, shortage);
        if (err == ESP_OK) { /* alone first, so that a missing frame is not reported as a smaller block */
            err = admit(&CAMERA_PSRAM[FRAME], 1, PSRAM_CAPS, shortage);
        }
        return err == ESP_OK ? admit(NEEDS(CAMERA_PSRAM), PSRAM_CAPS, shortage) : err;
    }
    return mode == SYSTEM_STATE_VOICE_ACTIVE ? admit(NEEDS(VOICE_DMA), DMA_CAPS, shortage) : ESP_OK;
}

esp_err_t mode_admit(system_state_t mode, mode_shortage_t *shortage)
{
    /* Allocates the ring now if the allocation at boot failed. */
    if (mode == SYSTEM_STATE_VOICE_ACTIVE && stt_pipeline_prepare() != ESP_OK) {
        *shortage = (mode_shortage_t){
            .block = "STT ring",
            .caps = PSRAM_CAPS,
            .number = 1,
            .missing = STT_RING_SIZE,
            .largest = (uint32_t)heap_caps_get_largest_free_block(PSRAM_CAPS),
            .free = (uint32_t)heap_caps_get_free_size(PSRAM_CAPS),
        };
        return ESP_ERR_NO_MEM;
    }
    return admit_drivers(mode, shortage);
}

#if CONFIG_HOTPIN_MEM_OPTIMIZE
bool mode_is_scattered(system_state_t mode)
{
    mode_shortage_t shortage;
    return admit_drivers(mode, &shortage) == ESP_ERR_NO_MEM && shortage.needed <= shortage.free;
}
#endif
