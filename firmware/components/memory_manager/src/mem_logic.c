/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mem_logic.h"

esp_err_t mem_thresholds_check(const memory_thresholds_t *t)
{
    bool good = t->internal_ram_critical <= t->internal_ram_warning &&
                t->dma_capable_critical <= t->dma_capable_warning && t->psram_critical <= t->psram_warning &&
                t->fragmentation_critical >= t->fragmentation_warning && t->fragmentation_critical <= 100;
    return good ? ESP_OK : ESP_ERR_INVALID_ARG;
}

/* Levels of free bytes are entered when the value falls. */
static bool bytes_reached(uint32_t value, uint32_t threshold)
{
    return value < threshold;
}

static bool bytes_left(uint32_t value, uint32_t threshold)
{
    uint32_t margin = threshold / 10 > MEM_HYSTERESIS_MIN ? threshold / 10 : MEM_HYSTERESIS_MIN;
    return value >= (uint64_t)threshold + margin;
}

/* Levels of fragmentation are entered when the value rises. */
static bool percent_reached(uint32_t value, uint32_t threshold)
{
    return value >= threshold;
}

static bool percent_left(uint32_t value, uint32_t threshold)
{
    uint32_t leave = threshold > MEM_HYSTERESIS_PERCENT ? threshold - MEM_HYSTERESIS_PERCENT : 0;
    return value <= leave && value < threshold;
}

typedef struct {
    uint32_t value;
    uint32_t low;
    uint32_t critical;
    memory_warning_type_t low_type;
    memory_warning_type_t critical_type;
    bool (*reached)(uint32_t value, uint32_t threshold);
    bool (*left)(uint32_t value, uint32_t threshold);
} measure_t;

static size_t emit(mem_change_t *out, bool recovered, memory_warning_type_t type, uint32_t threshold,
                   uint32_t value, uint32_t timestamp_ms)
{
    *out = (mem_change_t){
        .recovered = recovered,
        .warning =
            {
                .type = type,
                .timestamp_ms = timestamp_ms,
                .current_value = value,
                .threshold_value = threshold,
            },
    };
    return 1;
}

static size_t update_level(mem_level_t *level, const measure_t *m, uint32_t timestamp_ms, mem_change_t *out)
{
    size_t count = 0;
    bool was_critical = level->critical;

    level->low = level->low ? !m->left(m->value, m->low) : m->reached(m->value, m->low);
    level->critical = level->critical ? !m->left(m->value, m->critical) : m->reached(m->value, m->critical);

    if (level->critical != was_critical) {
        count += emit(out, was_critical, m->critical_type, m->critical, m->value, timestamp_ms);
    }
    if (level->low_raised && !level->low) {
        level->low_raised = false;
        count += emit(out + count, true, m->low_type, m->low, m->value, timestamp_ms);
    } else if (!level->low_raised && !level->critical && m->reached(m->value, m->low)) {
        level->low_raised = true;
        count += emit(out + count, false, m->low_type, m->low, m->value, timestamp_ms);
    }
    return count;
}

size_t mem_levels_update(mem_levels_t *levels, const memory_thresholds_t *t, const memory_stats_t *stats,
                         mem_change_t out[MEM_CHANGES_MAX])
{
    const measure_t measures[MEM_LEVELS] = {
        [MEM_INTERNAL] =
            {
                stats->internal_free,
                t->internal_ram_warning,
                t->internal_ram_critical,
                MEMORY_WARNING_INTERNAL_LOW,
                MEMORY_WARNING_INTERNAL_CRITICAL,
                bytes_reached,
                bytes_left,
            },
        [MEM_DMA] =
            {
                stats->dma_free,
                t->dma_capable_warning,
                t->dma_capable_critical,
                MEMORY_WARNING_DMA_LOW,
                MEMORY_WARNING_DMA_CRITICAL,
                bytes_reached,
                bytes_left,
            },
        [MEM_PSRAM] =
            {
                stats->psram_free,
                t->psram_warning,
                t->psram_critical,
                MEMORY_WARNING_PSRAM_LOW,
                MEMORY_WARNING_PSRAM_CRITICAL,
                bytes_reached,
                bytes_left,
            },
        [MEM_FRAGMENTATION] =
            {
                memory_manager_worst_fragmentation(stats),
                t->fragmentation_warning,
                t->fragmentation_critical,
                MEMORY_WARNING_FRAGMENTATION_HIGH,
                MEMORY_WARNING_FRAGMENTATION_HIGH,
                percent_reached,
                percent_left,
            },
    };
    size_t count = 0;
    for (int i = 0; i < MEM_LEVELS; i++) {
        count += update_level(&levels->level[i], &measures[i], stats->timestamp_ms, out + count);
    }
    return count;
}

void mem_levels_standing(const mem_levels_t *levels, bool *low, bool *critical)
{
    *low = false;
    *critical = false;
    for (int i = 0; i < MEM_LEVELS; i++) {
        *low |= levels->level[i].low;
        *critical |= levels->level[i].critical;
    }
}

uint32_t memory_manager_worst_fragmentation(const memory_stats_t *stats)
{
    uint32_t worst = stats->internal_fragmentation;
    worst = stats->dma_fragmentation > worst ? stats->dma_fragmentation : worst;
    return stats->psram_fragmentation > worst ? stats->psram_fragmentation : worst;
}

memory_baseline_t mem_baseline(const memory_stats_t *stats)
{
    return (memory_baseline_t){.timestamp_ms = stats->timestamp_ms,
#define BASELINE_(field, label, stats_field) .field = stats->stats_field,
                               MEMORY_BASELINE_FIELDS(BASELINE_)
#undef BASELINE_
    };
}

memory_delta_t mem_delta(const memory_stats_t *stats, const memory_baseline_t *baseline)
{
    return (memory_delta_t){
#define DELTA_(field, label, stats_field) .field = (int32_t)(stats->stats_field - baseline->field),
        MEMORY_BASELINE_FIELDS(DELTA_)
#undef DELTA_
    };
}

uint32_t mem_advice(const memory_thresholds_t *t, const memory_stats_t *stats)
{
    const bool applies[MEMORY_ADVICE_KINDS_] = {
        [MEMORY_ADVICE_INTERNAL_PRESSURE] = bytes_reached(stats->internal_free, t->internal_ram_warning),
        [MEMORY_ADVICE_DMA_PRESSURE] = bytes_reached(stats->dma_free, t->dma_capable_warning),
        [MEMORY_ADVICE_PSRAM_PRESSURE] = bytes_reached(stats->psram_free, t->psram_warning),
        [MEMORY_ADVICE_INTERNAL_FRAGMENTED] =
            percent_reached(stats->internal_fragmentation, t->fragmentation_warning),
        [MEMORY_ADVICE_RESTART_AUDIO] = percent_reached(stats->dma_fragmentation, MEM_AUDIO_RESTART),
        [MEMORY_ADVICE_PSRAM_FRAGMENTED] =
            percent_reached(stats->psram_fragmentation, t->fragmentation_warning),
    };
    uint32_t advice = 0;
    for (int i = 0; i < MEMORY_ADVICE_KINDS_; i++) {
        advice |= applies[i] ? 1U << i : 0;
    }
    return advice;
}

const char *memory_warning_name(memory_warning_type_t type)
{
    static const char *const names[MEMORY_WARNING_TYPES_] = {
        [MEMORY_WARNING_INTERNAL_LOW] = "INTERNAL_LOW",
        [MEMORY_WARNING_INTERNAL_CRITICAL] = "INTERNAL_CRITICAL",
        [MEMORY_WARNING_DMA_LOW] = "DMA_LOW",
        [MEMORY_WARNING_DMA_CRITICAL] = "DMA_CRITICAL",
        [MEMORY_WARNING_PSRAM_LOW] = "PSRAM_LOW",
        [MEMORY_WARNING_PSRAM_CRITICAL] = "PSRAM_CRITICAL",
        [MEMORY_WARNING_FRAGMENTATION_HIGH] = "FRAGMENTATION_HIGH",
    };
    return (unsigned)type < MEMORY_WARNING_TYPES_ ? names[type] : "?";
}

const char *memory_advice_text(memory_advice_t advice)
{
    static const char *const texts[MEMORY_ADVICE_KINDS_] = {
        [MEMORY_ADVICE_INTERNAL_PRESSURE] =
            "internal RAM is low: free buffers, or move buffers that need no DMA to PSRAM",
        [MEMORY_ADVICE_DMA_PRESSURE] = "DMA-capable RAM is low: stop a driver that is not in use",
        [MEMORY_ADVICE_PSRAM_PRESSURE] = "PSRAM is low: free stream and frame buffers",
        [MEMORY_ADVICE_INTERNAL_FRAGMENTED] =
            "internal RAM is fragmented: restart subsystems in reverse order of their start",
        [MEMORY_ADVICE_RESTART_AUDIO] =
            "DMA-capable RAM is fragmented: restart the audio driver to compact it",
        [MEMORY_ADVICE_PSRAM_FRAGMENTED] =
            "PSRAM is fragmented: allocate long-lived buffers before short-lived ones",
    };
    return (unsigned)advice < MEMORY_ADVICE_KINDS_ ? texts[advice] : "?";
}
