/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.api: edge cases of the API, run on the board.
 */
#include <stdio.h>
#include <string.h>

#include "api_case.h"
#include "boot_fail.h"
#include "console.h"
#include "hil_console.h"

static const char BEFORE_INIT_PREFIX[] = "before_init.";

static const api_cases_t *const TABLES[] = {&API_CASES_BEFORE_INIT, &API_CASES_MANAGER,
                                            &API_CASES_OPTIONAL_BEFORE_INIT, &API_CASES_OPTIONAL};

static bool s_before_init_ran;

void hil_console_before_init(void)
{
    for (size_t t = 0; t < ARRAY_SIZE(TABLES); t++) {
        for (size_t i = 0; TABLES[t]->results != NULL && i < TABLES[t]->count; i++) {
            TABLES[t]->results[i] = TABLES[t]->cases[i].run();
        }
    }
    s_before_init_ran = true;
    boot_fail_begin_allocations();
}

static void list_cases(console_reply_t *reply)
{
    console_array_begin(reply, "cases");
    for (size_t t = 0; t < ARRAY_SIZE(TABLES); t++) {
        for (size_t i = 0; i < TABLES[t]->count; i++) {
            char name[64];
            snprintf(name, sizeof(name), "%s%s", TABLES[t]->results != NULL ? BEFORE_INIT_PREFIX : "",
                     TABLES[t]->cases[i].name);
            telemetry_str(console_room(reply, sizeof(name) + 4), NULL, name);
        }
    }
    console_container_end(reply);
}

static bool run_case(const char *name, esp_err_t *err)
{
    size_t prefix = sizeof(BEFORE_INIT_PREFIX) - 1;
    bool before = strncmp(name, BEFORE_INIT_PREFIX, prefix) == 0;
    name += before ? prefix : 0;
    for (size_t t = 0; t < ARRAY_SIZE(TABLES); t++) {
        const api_cases_t *table = TABLES[t];
        if ((table->results != NULL) != before || (before && !s_before_init_ran)) {
            continue;
        }
        for (size_t i = 0; i < table->count; i++) {
            if (strcmp(table->cases[i].name, name) == 0) {
                *err = before ? table->results[i] : table->cases[i].run();
                return true;
            }
        }
    }
    return false;
}

static esp_err_t mem_api(const console_request_t *request, console_reply_t *reply)
{
    const char *name = console_arg(request, "case");
    if (name == NULL) {
        list_cases(reply);
        return ESP_OK;
    }
    esp_err_t err;
    if (!run_case(name, &err)) {
        return console_bad_argument(reply, "case", name,
                                    "unknown; mem.api without arguments lists the cases");
    }
    telemetry_str(console_room(reply, 80), "case", name);
    telemetry_str(console_room(reply, 80), "err", esp_err_to_name(err));
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.api", "[case=TEXT]", mem_api, "run an edge case of the API (none: list them)"},
};

const console_group_t CMD_API = CONSOLE_GROUP(COMMANDS);
