/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.predict: the predictions of memory_predict.
 */
#include "console.h"
#include "memory_predict.h"
#include "sdkconfig.h"

#define PREDICTIONS_MAX (6 * CONFIG_HOTPIN_MEM_PREDICT_STATES) /* two thresholds per memory type */
#define PREDICTION_SIZE 300

static void add_prediction(console_reply_t *reply, const memory_prediction_t *prediction)
{
    telemetry_record_t *record = console_room(reply, PREDICTION_SIZE);
    telemetry_object_begin(record, NULL);
    telemetry_str(record, "memory", prediction->memory);
    telemetry_str(record, "state", prediction->state);
    telemetry_bool(record, "critical", prediction->critical);
    telemetry_u32(record, "threshold", prediction->threshold);
    telemetry_u32(record, "timestamp_ms", prediction->timestamp_ms);
    telemetry_u32(record, "free", prediction->free);
    telemetry_u32(record, "loss_per_hour", prediction->loss_per_hour);
    telemetry_u32(record, "windows", prediction->windows);
    telemetry_u32(record, "expected_ms", prediction->expected_ms);
    telemetry_u32(record, "earliest_ms", prediction->earliest_ms);
    telemetry_u32(record, "latest_ms", prediction->latest_ms);
    telemetry_object_end(record);
}

static esp_err_t mem_predict(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    static memory_prediction_t s_predictions[PREDICTIONS_MAX];
    memory_predict_cost_t cost;
    size_t count = 0;
    esp_err_t err = memory_manager_get_predictions(s_predictions, PREDICTIONS_MAX, &count);
    if (err == ESP_OK) {
        err = memory_predict_get_cost(&cost);
    }
    if (err != ESP_OK) {
        return console_fail(reply, err, "the prediction has not started");
    }
    console_u32(reply, "bytes_static", cost.bytes_static);
    console_u32(reply, "windows", cost.windows);
    console_u32(reply, "cpu_us_mean", cost.cpu_us_mean);
    console_u32(reply, "cpu_us_max", cost.cpu_us_max);
    console_array_begin(reply, "predictions");
    for (size_t i = 0; i < count; i++) {
        add_prediction(reply, &s_predictions[i]);
    }
    console_container_end(reply);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.predict", "", mem_predict,
     "when falling memory will reach its thresholds; memory and CPU time that the prediction uses"},
};

const console_group_t CMD_PREDICT = CONSOLE_GROUP(COMMANDS);
