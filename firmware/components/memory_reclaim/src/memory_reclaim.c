/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only the task that holds s_run.busy uses the list and runs reclaimers. So no lock of this component is held
 * while a reclaimer is running. s_lock guards the other variables.
 */
#include "memory_reclaim.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include "array_size.h"
#include "esp_attr.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "reclaim_logic.h"
#include "telemetry.h"

static const char *TAG = "RECLAIM";

#define INTERNAL_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)
#define RECORD_SIZE 256

enum { INTERNAL, DMA, PSRAM, MEMORIES };

typedef struct {
    uint32_t target; /* free bytes to reach; 0: nothing is pending */
    memory_reclaim_trigger_t trigger;
} pending_t;

typedef struct {
    uint32_t caps;
    size_t size;
} kind_t;

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;

static struct {
    memory_reclaim_t *first;
    atomic_bool busy;
    TaskHandle_t _Atomic task; /* holder of busy */
} s_run;

static struct {
    memory_observer_t observer;
    reclaim_level_t levels[MEMORIES]; /* monitor task only */
    pending_t pending[MEMORIES];
    memory_reclaim_use_t uses[MEMORY_RECLAIM_LOG_SIZE];
    uint32_t use_count;
    atomic_bool requested; /* by the monitor task; memory_reclaim_run_pending() runs the reclaimers */
} s_reclaim;

/* Written in the task of a failed allocation, even while the flash cache is off: in DRAM, without a lock. */
static struct {
    kind_t kinds[MEMORY_RECLAIM_KINDS_MAX];
    atomic_uint kind_count;
    atomic_uint failed_caps; /* capabilities of a failed allocation; 0: none is pending */
    atomic_uint failed_size; /* set after the caps; 0: not yet */
} s_watch;

size_t memory_reclaim_static_size(void)
{
    return sizeof(s_lock) + sizeof(s_run) + sizeof(s_reclaim) + sizeof(s_watch);
}

const char *memory_reclaim_trigger_name(memory_reclaim_trigger_t trigger)
{
    static const char *const NAMES[] = {
        [MEMORY_RECLAIM_LOW] = "low",         [MEMORY_RECLAIM_CRITICAL] = "critical",
        [MEMORY_RECLAIM_FAILURE] = "failure", [MEMORY_RECLAIM_REFUSAL] = "refusal",
        [MEMORY_RECLAIM_REQUEST] = "request",
    };
    return (unsigned)trigger < ARRAY_SIZE(NAMES) ? NAMES[trigger] : "?";
}

/* --- Only one run at a time --- */

static bool try_begin(void)
{
    bool busy = false;
    if (!atomic_compare_exchange_strong(&s_run.busy, &busy, true)) {
        return false;
    }
    atomic_store(&s_run.task, xTaskGetCurrentTaskHandle());
    return true;
}

static void end(void)
{
    atomic_store(&s_run.task, NULL);
    atomic_store(&s_run.busy, false);
}

/* Waits for the end of a run. False: the caller is a reclaimer of that run. */
static bool begin(void)
{
    while (!try_begin()) {
        if (atomic_load(&s_run.task) == xTaskGetCurrentTaskHandle()) {
            return false;
        }
        vTaskDelay(1);
    }
    return true;
}

/* --- Registration --- */

/* MALLOC_CAP_INTERNAL, MALLOC_CAP_SPIRAM, or both if `caps` includes none of them. DMA memory is internal. */
static uint32_t memory_of(uint32_t caps)
{
    uint32_t memory = caps & (MALLOC_CAP_INTERNAL | MALLOC_CAP_SPIRAM);
    if (caps & MALLOC_CAP_DMA) {
        memory |= MALLOC_CAP_INTERNAL;
    }
    return memory != 0 ? memory : MALLOC_CAP_INTERNAL | MALLOC_CAP_SPIRAM;
}

esp_err_t memory_reclaim_register(memory_reclaim_t *reclaimer)
{
    if (reclaimer == NULL || reclaimer->name == NULL || reclaimer->reclaim == NULL || reclaimer->caps == 0 ||
        (unsigned)reclaimer->from >= MEMORY_RECLAIM_TRIGGERS_) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!begin()) {
        return ESP_ERR_INVALID_STATE;
    }
    bool inserted = reclaim_insert(&s_run.first, reclaimer);
    if (inserted) {
        reclaimer->caps = memory_of(reclaimer->caps);
        reclaimer->idle = 0;
        reclaimer->runs = 0;
        reclaimer->gained = 0;
    }
    end();
    return inserted ? ESP_OK : ESP_ERR_INVALID_STATE;
}

esp_err_t memory_reclaim_unregister(memory_reclaim_t *reclaimer)
{
    if (!begin()) {
        return ESP_ERR_INVALID_STATE;
    }
    bool removed = reclaim_remove(&s_run.first, reclaimer);
    end();
    return removed ? ESP_OK : ESP_ERR_NOT_FOUND;
}

size_t memory_reclaim_get_all(memory_reclaim_t *out, size_t max)
{
    size_t count = 0;
    if (!begin()) {
        return 0;
    }
    for (const memory_reclaim_t *reclaimer = s_run.first; reclaimer != NULL && count < max;
         reclaimer = reclaimer->next) {
        out[count++] = *reclaimer;
    }
    end();
    return count;
}

/* --- Running --- */

static uint32_t free_of(uint32_t memory)
{
    size_t free = 0;
    if (memory & MALLOC_CAP_INTERNAL) {
        free += heap_caps_get_free_size(INTERNAL_CAPS);
    }
    if (memory & MALLOC_CAP_SPIRAM) {
        free += heap_caps_get_free_size(MALLOC_CAP_SPIRAM);
    }
    return (uint32_t)free;
}

static void send_event(const memory_reclaim_use_t *use, bool skipped)
{
    char buffer[RECORD_SIZE];
    telemetry_record_t record;
    telemetry_event_begin(&record, buffer, sizeof(buffer), "mem.reclaimed");
    telemetry_str(&record, "name", use->name);
    telemetry_str(&record, "trigger", memory_reclaim_trigger_name(use->trigger));
    telemetry_u32(&record, "gain", use->gain);
    telemetry_bool(&record, "skipped", skipped);
    telemetry_send(&record);
}

static void run_one(memory_reclaim_t *reclaimer, memory_reclaim_trigger_t trigger)
{
    uint32_t before = free_of(reclaimer->caps);
    reclaimer->reclaim();
    uint32_t after = free_of(reclaimer->caps);
    const memory_reclaim_use_t use = {
        .timestamp_ms = (uint32_t)(esp_timer_get_time() / 1000),
        .name = reclaimer->name,
        .trigger = trigger,
        .gain = after > before ? after - before : 0,
    };
    bool skipped = reclaim_count(reclaimer, use.gain);
    taskENTER_CRITICAL(&s_lock);
    s_reclaim.uses[s_reclaim.use_count++ % MEMORY_RECLAIM_LOG_SIZE] = use;
    taskEXIT_CRITICAL(&s_lock);
    send_event(&use, skipped);
    if (skipped) {
        ESP_LOGW(TAG, "%s freed nothing in %d runs: skipped until it frees memory on request",
                 reclaimer->name, MEMORY_RECLAIM_IDLE_MAX);
    }
}

static bool never_enough(void *context)
{
    (void)context;
    return false;
}

static bool run(uint32_t caps, memory_reclaim_trigger_t trigger, memory_reclaim_enough_t enough,
                void *context)
{
    if (xPortInIsrContext() || !try_begin()) {
        return false;
    }
    memory_reclaim_t *reclaimer = s_run.first;
    bool done = trigger != MEMORY_RECLAIM_REFUSAL && enough(context); /* the caller has already checked */
    while (!done && reclaimer != NULL) {
        if (reclaim_may_run(reclaimer, trigger, memory_of(caps)) &&
            (reclaimer->available == NULL || reclaimer->available() > 0)) {
            run_one(reclaimer, trigger);
            done = enough(context);
        }
        reclaimer = reclaimer->next;
    }
    end();
    return done;
}

typedef struct {
    uint32_t caps;
    size_t size;
} want_t;

static bool block_fits(void *context)
{
    const want_t *want = context;
    return heap_caps_get_largest_free_block(want->caps) >= want->size;
}

static bool enough_free(void *context)
{
    const want_t *want = context;
    return heap_caps_get_free_size(want->caps) >= want->size;
}

bool memory_reclaim_for(uint32_t caps, size_t size)
{
    want_t want = {caps, size};
    return run(caps, MEMORY_RECLAIM_REFUSAL, block_fits, &want);
}

bool memory_reclaim_until(uint32_t caps, memory_reclaim_enough_t enough, void *context)
{
    return run(caps, MEMORY_RECLAIM_REFUSAL, enough != NULL ? enough : never_enough, context);
}

size_t memory_reclaim_get_log(memory_reclaim_use_t *out, size_t max)
{
    size_t count = 0;
    taskENTER_CRITICAL(&s_lock);
    while (count < max && count < MEMORY_RECLAIM_LOG_SIZE && count < s_reclaim.use_count) {
        out[count] = s_reclaim.uses[(s_reclaim.use_count - 1 - count) % MEMORY_RECLAIM_LOG_SIZE];
        count++;
    }
    taskEXIT_CRITICAL(&s_lock);
    return count;
}

/* --- Triggers --- */

esp_err_t memory_reclaim_watch(uint32_t caps, size_t size)
{
    if (caps == 0) {
        return ESP_ERR_INVALID_ARG;
    }
    esp_err_t err = ESP_ERR_NO_MEM;
    taskENTER_CRITICAL(&s_lock);
    unsigned count = atomic_load(&s_watch.kind_count);
    if (count < MEMORY_RECLAIM_KINDS_MAX) {
        s_watch.kinds[count] = (kind_t){caps, size};
        atomic_store(&s_watch.kind_count, count + 1);
        err = ESP_OK;
    }
    taskEXIT_CRITICAL(&s_lock);
    return err;
}

/* Called by the memory manager in the task of the failed allocation, even while the flash cache is off. */
static IRAM_ATTR void failed(uint32_t size, uint32_t caps, const char *function)
{
    (void)function;
    unsigned count = atomic_load(&s_watch.kind_count);
    for (unsigned i = 0; i < count; i++) {
        const kind_t *kind = &s_watch.kinds[i];
        unsigned none = 0;
        if ((caps & kind->caps) == kind->caps && size >= kind->size &&
            atomic_compare_exchange_strong(&s_watch.failed_caps, &none, caps)) {
            atomic_store(&s_watch.failed_size, (unsigned)size);
        }
    }
}

static void run_for_failure(void)
{
    want_t want = {atomic_load(&s_watch.failed_caps), atomic_load(&s_watch.failed_size)};
    if (want.size == 0) {
        return;
    }
    atomic_store(&s_watch.failed_size, 0);
    atomic_store(&s_watch.failed_caps, 0); /* from here on the next failure can be stored */
    run(want.caps, MEMORY_RECLAIM_FAILURE, block_fits, &want);
}

static void add_pending(pending_t *pending, uint32_t target, memory_reclaim_trigger_t trigger)
{
    taskENTER_CRITICAL(&s_lock);
    pending->trigger = pending->target == 0 || trigger > pending->trigger ? trigger : pending->trigger;
    pending->target = target > pending->target ? target : pending->target;
    taskEXIT_CRITICAL(&s_lock);
}

/* Runs in the monitor task, which must not run reclaimers, because its stack is too small. */
static void observe(const memory_observation_t *observation)
{
    const memory_stats_t *stats = observation->stats;
    memory_thresholds_t thresholds;
    if (memory_manager_get_thresholds(&thresholds) != ESP_OK) {
        return;
    }
    const uint32_t values[MEMORIES][3] = {
        {stats->internal_free, thresholds.internal_ram_warning, thresholds.internal_ram_critical},
        {stats->dma_free, thresholds.dma_capable_warning, thresholds.dma_capable_critical},
        {stats->psram_free, thresholds.psram_warning, thresholds.psram_critical},
    };
    for (int memory = 0; memory < MEMORIES; memory++) {
        uint32_t target;
        memory_reclaim_trigger_t trigger;
        if (reclaim_enters(&s_reclaim.levels[memory], values[memory][0], values[memory][1], values[memory][2],
                           &target, &trigger)) {
            add_pending(&s_reclaim.pending[memory], target, trigger);
        }
    }
}

void memory_reclaim_run_pending(void)
{
    static const uint32_t CAPS[MEMORIES] = {
        [INTERNAL] = INTERNAL_CAPS,
        [DMA] = MALLOC_CAP_DMA,
        [PSRAM] = MALLOC_CAP_SPIRAM,
    };
    run_for_failure();
    if (atomic_exchange(&s_reclaim.requested, false)) {
        run(0, MEMORY_RECLAIM_REQUEST, never_enough, NULL);
    }
    for (int memory = 0; memory < MEMORIES; memory++) {
        taskENTER_CRITICAL(&s_lock);
        pending_t pending = s_reclaim.pending[memory];
        s_reclaim.pending[memory].target = 0;
        taskEXIT_CRITICAL(&s_lock);
        if (pending.target != 0) {
            want_t want = {CAPS[memory], pending.target};
            run(CAPS[memory], pending.trigger, enough_free, &want);
        }
    }
}

static bool is_monitor(void)
{
    return strcmp(pcTaskGetName(NULL), "mem_monitor") == 0;
}

/* Registered with the memory manager. A callback of the monitor task may call memory_manager_optimize(). */
static void on_request(void)
{
    if (is_monitor()) {
        atomic_store(&s_reclaim.requested, true);
    } else {
        run(0, MEMORY_RECLAIM_REQUEST, never_enough, NULL);
    }
}

esp_err_t memory_reclaim_start(void)
{
    if (s_reclaim.observer.observe != NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    esp_err_t err = memory_manager_register_reclaimer(on_request);
    if (err != ESP_OK) {
        return err;
    }
    s_reclaim.observer.observe = observe;
    s_reclaim.observer.failed = failed;
    return memory_manager_register_observer(&s_reclaim.observer);
}
