/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "step_hook.h"

#include <string.h>

#include "esp_err.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "state_manager.h"

#define UNDO_PREFIX "undo:"

esp_err_t __wrap_state_manager_enter_step(const char *step, bool undo);
esp_err_t __real_state_manager_enter_step(const char *step, bool undo);

typedef struct {
    const char *step; /* the state manager's own string; NULL: this entry is free */
    bool undo;
    uint32_t left;
} target_t;

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static target_t s_fail[STEP_HOOK_MAX];
static uint32_t s_failed;
static target_t s_crash;
static void (*s_crash_call)(void);

static bool is(const target_t *target, const char *step, bool undo)
{
    return target->left > 0 && target->undo == undo && strcmp(target->step, step) == 0;
}

esp_err_t __wrap_state_manager_enter_step(const char *step, bool undo)
{
    bool fails = false;
    taskENTER_CRITICAL(&s_lock);
    void (*crash)(void) = is(&s_crash, step, undo) ? s_crash_call : NULL;
    for (int i = 0; i < STEP_HOOK_MAX && !fails; i++) {
        if (is(&s_fail[i], step, undo)) {
            s_fail[i].left--;
            s_failed++;
            fails = true;
        }
    }
    taskEXIT_CRITICAL(&s_lock);
    if (crash != NULL) {
        crash();
    }
    return fails ? ESP_FAIL : __real_state_manager_enter_step(step, undo);
}

/** @return the state manager's string for the step name, which has `length` characters; NULL if unknown */
static const char *find_step(const char *name, size_t length)
{
    for (int from = 0; from < SYSTEM_STATES_; from++) {
        for (int to = 0; to < SYSTEM_STATES_; to++) {
            const char *step;
            for (size_t i = 0; (step = state_manager_step_name(from, to, i)) != NULL; i++) {
                if (strlen(step) == length && memcmp(step, name, length) == 0) {
                    return step;
                }
            }
        }
    }
    return NULL;
}

static bool parse_target(const char *text, size_t length, uint32_t count, target_t *target)
{
    const size_t prefix = sizeof(UNDO_PREFIX) - 1;
    bool undo = length > prefix && memcmp(text, UNDO_PREFIX, prefix) == 0;
    const char *step = undo ? find_step(text + prefix, length - prefix) : find_step(text, length);
    *target = (target_t){.step = step, .undo = undo, .left = count};
    return step != NULL;
}

bool step_hook_fail(const char *list, uint32_t count)
{
    target_t targets[STEP_HOOK_MAX] = {0};
    size_t used = 0;
    while (true) {
        size_t length = strcspn(list, ",");
        if (used == STEP_HOOK_MAX || !parse_target(list, length, count, &targets[used++])) {
            return false;
        }
        if (list[length] == '\0') {
            break;
        }
        list += length + 1;
    }
    taskENTER_CRITICAL(&s_lock);
    memcpy(s_fail, targets, sizeof(s_fail));
    s_failed = 0;
    taskEXIT_CRITICAL(&s_lock);
    return true;
}

bool step_hook_crash(const char *step, void (*crash)(void))
{
    target_t target;
    if (!parse_target(step, strlen(step), 1, &target)) {
        return false;
    }
    taskENTER_CRITICAL(&s_lock);
    s_crash_call = crash;
    s_crash = target;
    taskEXIT_CRITICAL(&s_lock);
    return true;
}

void step_hook_disarm(void)
{
    taskENTER_CRITICAL(&s_lock);
    memset(s_fail, 0, sizeof(s_fail));
    s_crash.left = 0;
    taskEXIT_CRITICAL(&s_lock);
}

step_hook_state_t step_hook_get_state(void)
{
    step_hook_state_t state = {0};
    taskENTER_CRITICAL(&s_lock);
    for (int i = 0; i < STEP_HOOK_MAX; i++) {
        state.armed += s_fail[i].left > 0;
    }
    state.crash_armed = s_crash.left > 0;
    state.failed = s_failed;
    taskEXIT_CRITICAL(&s_lock);
    return state;
}
