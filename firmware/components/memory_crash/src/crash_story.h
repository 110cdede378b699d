/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The record in the core dump. hotpin_hil/protocol/memory_story.py reads it, so a change of the layout needs
 * a new CRASH_MAGIC. All members have the same size on the chip and on the host. Pure: no IDF header but
 * esp_attr.h.
 *
 * A crash may stop a task during a write. Therefore an entry's sequence number is 0 while the entry is
 * written.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "memory_manager.h"

#define CRASH_MAGIC "HOTPIN MEMORY 1" //!< 16 bytes with the terminator
#define CRASH_SNAPSHOTS MEMORY_HISTORY_SIZE
#define CRASH_WARNINGS 8
#define CRASH_FAILURES 8
#define CRASH_FRAMES 6
#define CRASH_STEP_SIZE 20
#define CRASH_NAME_SIZE 24
#define CRASH_TASK_SIZE 16

typedef struct {
    uint32_t sequence;
    uint32_t timestamp_ms;
    uint32_t type; //!< memory_warning_type_t
    uint32_t value;
    uint32_t threshold;
} crash_warning_t;

typedef struct {
    uint32_t sequence;
    uint32_t timestamp_ms;
    uint32_t size;
    uint32_t caps;
    uint32_t frames[CRASH_FRAMES];  //!< Return addresses, innermost first; 0: none
    char function[CRASH_NAME_SIZE]; //!< The heap function; "" if the flash cache was off
    char task[CRASH_TASK_SIZE];     //!< "" if the flash cache was off or in an interrupt
} crash_failure_t;

typedef struct {
    char magic[16];
    uint32_t size; //!< Of this struct
    uint32_t boot_id;
    uint32_t boot_count;
    uint32_t newest_warning;            //!< Sequence number, from 1; 0: none
    uint32_t newest_failure;            //!< Likewise
    char state[MEMORY_STATE_NAME_SIZE]; //!< "": a change is in progress
    char step[CRASH_STEP_SIZE];         //!< Of the change in progress; "undo:NAME" for an undo
    crash_warning_t warnings[CRASH_WARNINGS];
    crash_failure_t failures[CRASH_FAILURES];
    memory_snapshot_t snapshots[CRASH_SNAPSHOTS];
} crash_story_t;

/** Empties the story. */
void crash_story_begin(crash_story_t *story, uint32_t boot_id, uint32_t boot_count);

void crash_story_state(crash_story_t *story, const char *state);
void crash_story_step(crash_story_t *story, const char *step, bool undo);
void crash_story_snapshot(crash_story_t *story, const memory_snapshot_t *snapshot);

/** `sequence`: number of the warning, counted from 1. */
void crash_story_warning(crash_story_t *story, uint32_t sequence, const memory_warning_t *warning);

/** In IRAM, and calls no function in flash. `sequence`: number of the failure, counted from 1;
 * failure->sequence is ignored. */
void crash_story_failure(crash_story_t *story, uint32_t sequence, const crash_failure_t *failure);

/** Copies a string, cut to the size of the field. In IRAM. */
void crash_copy(char *out, size_t size, const char *text);
