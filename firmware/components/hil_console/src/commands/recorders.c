/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "recorders.h"

#include "callback_calls.h"
#include "freertos/FreeRTOS.h"

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static recorded_call_t s_calls[RECORDED_MAX];
static uint32_t s_call_count; /* counts all calls; only the first RECORDED_MAX are stored */
static unsigned s_registered;

static void note_call(uint8_t callback, bool recovery, const memory_warning_t *warning)
{
    portENTER_CRITICAL(&s_lock);
    if (s_call_count < RECORDED_MAX) {
        s_calls[s_call_count] = (recorded_call_t){*warning, callback, recovery};
    }
    s_call_count++;
    portEXIT_CRITICAL(&s_lock);
    if (callback == 0) {
        callback_calls_run(recovery);
    }
}

/* A callback gets no user argument, so each recorder is a pair of functions. */
#define RECORDER(n)                                              \
    static void on_warning_##n(const memory_warning_t *warning)  \
    {                                                            \
        note_call(n, false, warning);                            \
    }                                                            \
    static void on_recovery_##n(const memory_warning_t *warning) \
    {                                                            \
        note_call(n, true, warning);                             \
    }

#define EACH_RECORDER(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#define ON_WARNING_ENTRY(n) on_warning_##n,
#define ON_RECOVERY_ENTRY(n) on_recovery_##n,
EACH_RECORDER(RECORDER)

const memory_warning_callback_t RECORDERS_ON_WARNING[] = {EACH_RECORDER(ON_WARNING_ENTRY)};
const memory_warning_callback_t RECORDERS_ON_RECOVERY[] = {EACH_RECORDER(ON_RECOVERY_ENTRY)};
_Static_assert(sizeof(RECORDERS_ON_WARNING) == RECORDERS_MAX * sizeof(memory_warning_callback_t),
               "one recorder more than callbacks");

esp_err_t recorders_register(unsigned n)
{
    esp_err_t err = memory_manager_register_warning_callback(RECORDERS_ON_WARNING[n]);
    if (err != ESP_OK) {
        return err;
    }
    err = memory_manager_register_recovery_callback(RECORDERS_ON_RECOVERY[n]);
    if (err != ESP_OK) {
        memory_manager_unregister_warning_callback(RECORDERS_ON_WARNING[n]);
    }
    return err;
}

esp_err_t recorders_add(void)
{
    esp_err_t err = s_registered < RECORDERS_MAX ? recorders_register(s_registered) : ESP_ERR_NO_MEM;
    s_registered += err == ESP_OK;
    return err;
}

static esp_err_t unregister(unsigned n)
{
    esp_err_t err = memory_manager_unregister_warning_callback(RECORDERS_ON_WARNING[n]);
    esp_err_t other = memory_manager_unregister_recovery_callback(RECORDERS_ON_RECOVERY[n]);
    return err != ESP_OK ? err : other;
}

void recorders_remove_newest(uint32_t count)
{
    while (count-- > 0) {
        unregister(--s_registered);
    }
}

esp_err_t recorders_leave_out(unsigned n)
{
    return n < s_registered ? unregister(n) : ESP_ERR_INVALID_ARG;
}

void recorders_clear(void)
{
    recorders_remove_newest(s_registered);
    portENTER_CRITICAL(&s_lock);
    s_call_count = 0;
    portEXIT_CRITICAL(&s_lock);
}

unsigned recorders_registered(void)
{
    return s_registered;
}

uint32_t recorders_call_count(void)
{
    portENTER_CRITICAL(&s_lock);
    uint32_t count = s_call_count;
    portEXIT_CRITICAL(&s_lock);
    return count;
}

const recorded_call_t *recorders_call(size_t index)
{
    return &s_calls[index];
}
