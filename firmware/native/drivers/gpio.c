/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pins: the levels set by drivers, and the times of their changes.
 */
#include "drivers/gpio.h"

#include <inttypes.h>
#include "driver/gpio.h"
#include "drivers/intr.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "kernel/clock.h"
#include "kernel/object.h"

static const char *TAG = "gpio";

#define SIZE_ISR_TABLE (GPIO_NUM_MAX * 8) // a function and its argument per pin

typedef struct {
    bool output;
    bool high;
    uint64_t raised_us;
    uint64_t lowered_us;
} pin_t;

static pin_t s_pins[GPIO_NUM_MAX];
static void *s_isr_table;
static native_intr_t *s_intr;

static void set(pin_t *pin, bool high)
{
    if (high != pin->high) {
        *(high ? &pin->raised_us : &pin->lowered_us) = native_now_us();
        pin->high = high;
    }
}

esp_err_t gpio_config(const gpio_config_t *pGPIOConfig)
{
    uint64_t mask = pGPIOConfig->pin_bit_mask;
    if (mask == 0 || mask >> GPIO_NUM_MAX != 0) {
        ESP_LOGE(TAG, "%s(%d): GPIO_PIN mask error", __func__, __LINE__);
        return ESP_ERR_INVALID_ARG;
    }
    bool output = pGPIOConfig->mode & GPIO_MODE_DEF_OUTPUT;
    for (int number = 0; number < GPIO_NUM_MAX; number++) {
        if ((mask >> number & 1) == 0) {
            continue;
        }
        if (!GPIO_IS_VALID_GPIO(number) || (output && !GPIO_IS_VALID_OUTPUT_GPIO(number))) {
            ESP_LOGE(TAG, "%s(%d): GPIO number error", __func__, __LINE__);
            return ESP_ERR_INVALID_ARG;
        }
        s_pins[number].output = output;
        ESP_LOGI(TAG,
                 "GPIO[%d]| InputEn: %d| OutputEn: %d| OpenDrain: %d| Pullup: %d| Pulldown: %d| Intr:%d ",
                 number, (pGPIOConfig->mode & GPIO_MODE_DEF_INPUT) != 0, output,
                 (pGPIOConfig->mode & GPIO_MODE_DEF_OD) != 0, pGPIOConfig->pull_up_en,
                 pGPIOConfig->pull_down_en, pGPIOConfig->intr_type);
    }
    return ESP_OK;
}

esp_err_t gpio_set_level(gpio_num_t gpio_num, uint32_t level)
{
    if (!GPIO_IS_VALID_OUTPUT_GPIO(gpio_num)) {
        ESP_LOGE(TAG, "%s(%d): GPIO output gpio_num error", __func__, __LINE__);
        return ESP_ERR_INVALID_ARG;
    }
    if (s_pins[gpio_num].output) {
        set(&s_pins[gpio_num], level != 0);
    }
    return ESP_OK;
}

int gpio_get_level(gpio_num_t gpio_num)
{
    return GPIO_IS_VALID_GPIO(gpio_num) && s_pins[gpio_num].high;
}

/* No driver uninstalls the service, so a second install is refused with a log line. */
esp_err_t gpio_install_isr_service(int intr_alloc_flags)
{
    (void)intr_alloc_flags;
    if (s_isr_table != NULL) {
        ESP_LOGE(TAG, "%s(%d): GPIO isr service already installed", __func__, __LINE__);
        return ESP_ERR_INVALID_STATE;
    }
    void *table = heap_caps_calloc(1, SIZE_ISR_TABLE, NATIVE_KERNEL_CAPS);
    if (table == NULL) {
        return ESP_ERR_NO_MEM;
    }
    s_intr = native_intr_alloc(NATIVE_INTR_NOT_SHARED);
    if (s_intr == NULL) {
        heap_caps_free(table);
        return ESP_ERR_NO_MEM;
    }
    s_isr_table = table;
    return ESP_OK;
}

uint64_t native_gpio_high_us(gpio_num_t pin)
{
    const pin_t *state = &s_pins[pin];
    return (state->high ? native_now_us() : state->lowered_us) - state->raised_us;
}

uint64_t native_gpio_low_us(gpio_num_t pin)
{
    return s_pins[pin].high ? 0 : native_now_us() - s_pins[pin].lowered_us;
}
