/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Starts the components in order.
 */
#include "esp_err.h"
#include "esp_log.h"
#include "hil_console.h"
#include "memory_adapt.h"
#include "memory_crash.h"
#include "memory_history.h"
#include "memory_manager.h"
#include "memory_predict.h"
#include "memory_priority.h"
#include "memory_profile.h"
#include "memory_reclaim.h"
#include "network_model.h"
#include "nvs_flash.h"
#include "sdkconfig.h"
#include "state_manager.h"
#include "telemetry.h"

static const char *TAG = "MAIN";

/** Logs an error that does not keep the board from running. */
static void log_failure(const char *what, esp_err_t err)
{
    if (err != ESP_OK) {
        ESP_LOGE(TAG, "%s: %s", what, esp_err_to_name(err));
    }
}

/** Initialises NVS, which stores the boot count. Erases the partition if it is truncated or has another
 * version. */
static esp_err_t init_nvs(void)
{
    esp_err_t err = nvs_flash_init();
    if (err == ESP_ERR_NVS_NO_FREE_PAGES || err == ESP_ERR_NVS_NEW_VERSION_FOUND) {
        ESP_LOGW(TAG, "NVS is unusable (%s): erasing it", esp_err_to_name(err));
        err = nvs_flash_erase();
        if (err == ESP_OK) {
            err = nvs_flash_init();
        }
    }
    return err;
}

/** Sends the boot event. Tests measure from this event, so the state task calls this function when the main
 * task's memory is free. */
static void announce(void)
{
    telemetry_send_boot();
    ESP_LOGI(TAG, "HotPin ready");
}

/** Enters camera mode. If that fails, logs the reason and keeps the board running: the next request for a
 * mode may succeed. */
static void enter_first_mode(void)
{
    esp_err_t err = state_manager_start(announce);
    if (err != ESP_OK) {
        announce(); /* the state task normally does this, but it is not running */
    } else {
        err = state_manager_request(SYSTEM_STATE_CAMERA_STANDBY, CONFIG_HOTPIN_STATE_START_TIMEOUT_MS);
    }
    log_failure("Camera mode", err);
}

void app_main(void)
{
#if CONFIG_HOTPIN_MEM_PROFILE
    memory_profile_start();
#endif
    telemetry_mark_start();

    /* If NVS fails, the board still boots, but the boot count is unknown. */
    log_failure("NVS", init_nvs());
    log_failure("Telemetry", telemetry_init());

#if CONFIG_HOTPIN_HIL_CONSOLE
    hil_console_before_init();
#endif
    ESP_LOGI(TAG, "Initializing memory manager...");
    ESP_ERROR_CHECK(memory_manager_init(NULL));
#if CONFIG_HOTPIN_MEM_ADAPT
    ESP_ERROR_CHECK(memory_adapt_start());
#endif
#if CONFIG_HOTPIN_MEM_PREDICT
    ESP_ERROR_CHECK(memory_predict_start());
#endif
#if CONFIG_HOTPIN_MEM_CRASH
    ESP_ERROR_CHECK(memory_crash_start());
    state_manager_on_step(memory_crash_set_step);
#endif
    ESP_ERROR_CHECK(memory_manager_start_monitoring(CONFIG_HOTPIN_MEM_INTERVAL_MS));
    memory_manager_log_stats("System Boot");
#if CONFIG_HOTPIN_MEM_PRIORITY
    log_failure("Priorities", memory_priority_start());
#endif
#if CONFIG_HOTPIN_MEM_RECLAIM
    log_failure("Reclaimers", memory_reclaim_start());
#endif
    network_model_start();
#if CONFIG_HOTPIN_MEM_HISTORY
    ESP_ERROR_CHECK(memory_history_start());
#endif

#if CONFIG_HOTPIN_HIL_CONSOLE
    log_failure("Test console", hil_console_start());
#endif
    enter_first_mode();
}
