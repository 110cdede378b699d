/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transition.h"

static esp_err_t do_step(const transition_step_t *step, bool undo, const transition_env_t *env,
                         transition_ledger_t *ledger)
{
    transition_entry_t *entry = &ledger->entries[ledger->count++];
    entry->step = step->name;
    entry->undo = undo;
    entry->before = env->measure();
    entry->err = env->enter(step->name, undo);
    if (entry->err == ESP_OK) {
        entry->err = undo ? step->undo() : step->run();
    }
    entry->after = env->measure();
    return entry->err;
}

static transition_end_t go_back(const transition_step_t *steps, size_t done, const transition_env_t *env,
                                transition_ledger_t *ledger)
{
    while (done-- > 0) {
        if (steps[done].undo != NULL && do_step(&steps[done], true, env, ledger) != ESP_OK) {
            return TRANSITION_STUCK;
        }
    }
    return TRANSITION_UNDONE;
}

transition_end_t transition_run(const transition_step_t *steps, size_t count, const transition_env_t *env,
                                transition_ledger_t *ledger)
{
    ledger->count = 0;
    if (count > TRANSITION_STEPS_MAX) {
        return TRANSITION_UNDONE;
    }
    for (size_t i = 0; i < count; i++) {
        if (do_step(&steps[i], false, env, ledger) != ESP_OK) {
            return go_back(steps, i, env, ledger);
        }
    }
    return TRANSITION_DONE;
}

const transition_entry_t *transition_failure(const transition_ledger_t *ledger)
{
    for (size_t i = 0; i < ledger->count; i++) {
        if (ledger->entries[i].err != ESP_OK) {
            return &ledger->entries[i];
        }
    }
    return NULL;
}
