/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "network_model.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>

#include "array_size.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "sdkconfig.h"

static const char *TAG = "NETWORK";

/* Wi-Fi's receive buffers are DMA memory; all other blocks, such as task stacks, are byte-addressable
 * internal memory. */
#define DMA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_DMA | MALLOC_CAP_8BIT)
#define INTERNAL_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
#define PSRAM_CAPS (MALLOC_CAP_SPIRAM | MALLOC_CAP_8BIT)
#define PSRAM_BLOCK 32768u
#define HEADER 4u /* bytes of a heap block's header */

static bool s_started;
static network_model_t s_taken;

#if CONFIG_HOTPIN_NETWORK_MODEL

/** The block is never freed, so its address is not kept. */
static bool take(uint32_t size, uint32_t caps)
{
    if (heap_caps_malloc(size, caps) == NULL) {
        ESP_LOGW(TAG, "no free block of %" PRIu32 " bytes (capabilities 0x%" PRIx32 "), largest is %" PRIu32,
                 size, caps, (uint32_t)heap_caps_get_largest_free_block(caps));
        return false;
    }
    s_taken.blocks++;
    uint32_t *sum = (caps & MALLOC_CAP_SPIRAM) != 0 ? &s_taken.psram_bytes : &s_taken.internal_bytes;
    *sum += size + HEADER;
    return true;
}

/** Allocates equal blocks until the total would exceed the limit. */
static bool fill(uint32_t size, uint32_t caps, const uint32_t *sum, uint32_t limit)
{
    while (*sum + size + HEADER <= limit) {
        if (!take(size, caps)) {
            return false;
        }
    }
    return true;
}

static bool take_all(void)
{
    static const uint32_t TASKS[] = {CONFIG_HOTPIN_NETWORK_WIFI_STACK, CONFIG_HOTPIN_NETWORK_LWIP_STACK,
                                     CONFIG_HOTPIN_NETWORK_EVENT_STACK};
    bool all = true;
    for (int i = 0; i < CONFIG_HOTPIN_NETWORK_RX_BUFFERS; i++) {
        all = take(CONFIG_HOTPIN_NETWORK_RX_BUFFER_SIZE, DMA_CAPS) && all;
    }
    for (size_t i = 0; i < ARRAY_SIZE(TASKS); i++) {
        all = take(TASKS[i], INTERNAL_CAPS) && all;
    }
    all = fill(CONFIG_HOTPIN_NETWORK_SMALL_BLOCK, INTERNAL_CAPS, &s_taken.internal_bytes,
               CONFIG_HOTPIN_NETWORK_INTERNAL_BYTES) &&
          all;
    return fill(PSRAM_BLOCK, PSRAM_CAPS, &s_taken.psram_bytes, CONFIG_HOTPIN_NETWORK_PSRAM_BYTES) && all;
}

#else

static bool take_all(void)
{
    return true;
}

#endif

esp_err_t network_model_start(void)
{
    if (s_started) {
        return ESP_ERR_INVALID_STATE;
    }
    s_started = true;
    bool all = take_all();
    ESP_LOGI(TAG, "Modelled network: %" PRIu32 " bytes internal, %" PRIu32 " PSRAM in %" PRIu32 " blocks",
             s_taken.internal_bytes, s_taken.psram_bytes, s_taken.blocks);
    return all ? ESP_OK : ESP_ERR_NO_MEM;
}

void network_model_get(network_model_t *out)
{
    *out = s_taken;
}
