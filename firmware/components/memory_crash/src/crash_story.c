/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "crash_story.h"

#include <stdatomic.h>
#include <string.h>
#include "esp_attr.h"

/* Keeps the compiler from moving a write across this point. */
#define BARRIER() atomic_signal_fence(memory_order_seq_cst)

IRAM_ATTR void crash_copy(char *out, size_t size, const char *text)
{
    size_t len = 0;
    while (len + 1 < size && text[len] != '\0') {
        out[len] = text[len];
        len++;
    }
    out[len] = '\0';
}

void crash_story_begin(crash_story_t *story, uint32_t boot_id, uint32_t boot_count)
{
    memset(story, 0, sizeof(*story));
    story->size = sizeof(*story);
    story->boot_id = boot_id;
    story->boot_count = boot_count;
    BARRIER();
    memcpy(story->magic, CRASH_MAGIC, sizeof(story->magic));
}

void crash_story_state(crash_story_t *story, const char *state)
{
    crash_copy(story->state, sizeof(story->state), state);
    if (state[0] != '\0') {
        story->step[0] = '\0';
    }
}

void crash_story_step(crash_story_t *story, const char *step, bool undo)
{
    size_t prefix = 0;
    if (undo) {
        crash_copy(story->step, sizeof(story->step), "undo:");
        prefix = strlen("undo:");
    }
    crash_copy(story->step + prefix, sizeof(story->step) - prefix, step);
}

void crash_story_snapshot(crash_story_t *story, const memory_snapshot_t *snapshot)
{
    memory_snapshot_t *slot = &story->snapshots[snapshot->sequence % CRASH_SNAPSHOTS];
    slot->sequence = 0;
    BARRIER();
    slot->stats = snapshot->stats;
    slot->delta = snapshot->delta;
    memcpy(slot->context, snapshot->context, sizeof(slot->context));
    BARRIER();
    slot->sequence = snapshot->sequence;
}

void crash_story_warning(crash_story_t *story, uint32_t sequence, const memory_warning_t *warning)
{
    crash_warning_t *slot = &story->warnings[sequence % CRASH_WARNINGS];
    slot->sequence = 0;
    BARRIER();
    slot->timestamp_ms = warning->timestamp_ms;
    slot->type = (uint32_t)warning->type;
    slot->value = warning->current_value;
    slot->threshold = warning->threshold_value;
    BARRIER();
    slot->sequence = sequence;
    story->newest_warning = sequence;
}

IRAM_ATTR void crash_story_failure(crash_story_t *story, uint32_t sequence, const crash_failure_t *failure)
{
    crash_failure_t *slot = &story->failures[sequence % CRASH_FAILURES];
    slot->sequence = 0;
    BARRIER();
    slot->timestamp_ms = failure->timestamp_ms;
    slot->size = failure->size;
    slot->caps = failure->caps;
    for (int i = 0; i < CRASH_FRAMES; i++) {
        slot->frames[i] = failure->frames[i];
    }
    crash_copy(slot->function, sizeof(slot->function), failure->function);
    crash_copy(slot->task, sizeof(slot->task), failure->task);
    BARRIER();
    slot->sequence = sequence;
    story->newest_failure = sequence;
}
