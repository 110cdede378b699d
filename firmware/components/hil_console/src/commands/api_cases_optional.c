/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Edge cases of the optional components' API. Each leaves the board as it was; what remains are low-water
 * marks and, of the cases inside a reclaimer, an entry in the log of runs. There is no case for a full list
 * of watched allocations, because the list can only grow.
 *
 * ESP_FAIL stands for a result that is NULL or false.
 */
#include "api_case.h"
#include "array_size.h"
#include "sdkconfig.h"

#if CONFIG_HOTPIN_MEM_ADAPT
#include "memory_adapt.h"

static size_t s_adapted_count;

#define ADAPT_BEFORE(X)                   \
    X(adapt, start, memory_adapt_start()) \
    X(adapt, get, memory_adapt_get(NULL, 0, &s_adapted_count))
#define ADAPT_CASES(X)                                              \
    X(adapt, start_again, memory_adapt_start())                     \
    X(adapt, get_null, memory_adapt_get(NULL, 1, &s_adapted_count)) \
    X(adapt, get_count_null, memory_adapt_get(NULL, 0, NULL))       \
    X(adapt, get_none, memory_adapt_get(NULL, 0, &s_adapted_count))
#else
#define ADAPT_BEFORE(X)
#define ADAPT_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_CRASH
#include "memory_crash.h"

#define CRASH_BEFORE(X) X(crash, start, memory_crash_start())
#define CRASH_CASES(X) X(crash, start_again, memory_crash_start())
#else
#define CRASH_BEFORE(X)
#define CRASH_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_HISTORY
#include "memory_history.h"

#define INTERVAL_MAX_S 4294967u

static memory_history_row_t s_row;
static size_t s_row_count;

/** Sets the time between rows, then the previous one again. */
static esp_err_t set_interval(uint32_t seconds)
{
    memory_history_info_t info;
    esp_err_t err = memory_history_get_info(&info);
    if (err == ESP_OK) {
        err = memory_history_set_interval(seconds);
        memory_history_set_interval(info.interval_s);
    }
    return err;
}

static esp_err_t get_history_info(void)
{
    memory_history_info_t info;
    return memory_history_get_info(&info);
}

#define HISTORY_BEFORE(X)                                           \
    X(history, start, memory_history_start())                       \
    X(history, get, memory_history_get(0, &s_row, 1, &s_row_count)) \
    X(history, write, memory_history_write())                       \
    X(history, erase, memory_history_erase())                       \
    X(history, info, get_history_info())
#define HISTORY_CASES(X)                                                 \
    X(history, start_again, memory_history_start())                      \
    X(history, get_null, memory_history_get(0, NULL, 1, &s_row_count))   \
    X(history, get_none, memory_history_get(0, &s_row, 0, &s_row_count)) \
    X(history, get_count_null, memory_history_get(0, &s_row, 1, NULL))   \
    X(history, info_null, memory_history_get_info(NULL))                 \
    X(history, interval_zero, set_interval(0))                           \
    X(history, interval_at_limit, set_interval(INTERVAL_MAX_S))          \
    X(history, interval_above_limit, set_interval(INTERVAL_MAX_S + 1))
#else
#define HISTORY_BEFORE(X)
#define HISTORY_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_OPTIMIZE
#include "memory_optimize.h"

static bool never(void)
{
    return false;
}

static esp_err_t restart_nothing(void)
{
    return ESP_OK;
}

static void end_nothing(void)
{
}

static const memory_optimize_hooks_t HOOKS = {never, restart_nothing, end_nothing, NULL};
static const memory_optimize_hooks_t NO_BEGIN = {NULL, restart_nothing, end_nothing, never};
static const memory_optimize_hooks_t NO_RESTART = {never, NULL, end_nothing, never};
static const memory_optimize_hooks_t NO_END = {never, restart_nothing, NULL, never};

#define OPTIMIZE_BEFORE(X) X(optimize, start, memory_optimize_start(&HOOKS))
#define OPTIMIZE_CASES(X)                                         \
    X(optimize, start_again, memory_optimize_start(&HOOKS))       \
    X(optimize, hooks_null, memory_optimize_start(NULL))          \
    X(optimize, begin_null, memory_optimize_start(&NO_BEGIN))     \
    X(optimize, restart_null, memory_optimize_start(&NO_RESTART)) \
    X(optimize, end_null, memory_optimize_start(&NO_END))
#else
#define OPTIMIZE_BEFORE(X)
#define OPTIMIZE_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_POOL
#include <string.h>

#include "esp_heap_caps.h"
#include "memory_pool.h"

#define POOL_BLOCK 8
/* The product is 16 if it is cut to 32 bits. */
#define OVERFLOW_BLOCK 0x40000004u
#define OVERFLOW_COUNT 4

static memory_pool_stats_t s_pool_stats;

static memory_pool_t *make_pool(void)
{
    return memory_pool_create("edge case", POOL_BLOCK, 1, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT);
}

/** Deletes the pool. @return ESP_FAIL if it is NULL */
static esp_err_t made(memory_pool_t *pool)
{
    return pool != NULL ? memory_pool_delete(pool) : ESP_FAIL;
}

static esp_err_t make_of(size_t block, size_t count)
{
    return made(memory_pool_create("edge case", block, count, MALLOC_CAP_SPIRAM));
}

/** Creates pools until none is left. @return ESP_ERR_INVALID_SIZE: not at the limit */
static esp_err_t make_all(void)
{
    memory_pool_t *pools[CONFIG_HOTPIN_MEM_POOLS_MAX + 1];
    size_t exist = 0;
    size_t count = 0;
    for (size_t i = 0; i < CONFIG_HOTPIN_MEM_POOLS_MAX; i++) {
        exist += memory_pool_at(i) != NULL;
    }
    while (count < ARRAY_SIZE(pools) && (pools[count] = make_pool()) != NULL) {
        count++;
    }
    esp_err_t err = exist + count == CONFIG_HOTPIN_MEM_POOLS_MAX ? ESP_FAIL : ESP_ERR_INVALID_SIZE;
    while (count > 0) {
        memory_pool_delete(pools[--count]);
    }
    return err;
}

static memory_pool_t *deleted_pool(void)
{
    memory_pool_t *pool = make_pool();
    return made(pool) == ESP_OK ? pool : NULL;
}

/** Passes memory that is not a pool. */
static esp_err_t pass_foreign(bool deletes)
{
    uintptr_t memory[32];
    memset(memory, 0x55, sizeof(memory));
    memory_pool_t *pool = (memory_pool_t *)memory;
    return deletes ? memory_pool_delete(pool) : memory_pool_get_stats(pool, &s_pool_stats);
}

static esp_err_t get_stats_into_null(void)
{
    memory_pool_t *pool = make_pool();
    esp_err_t err = memory_pool_get_stats(pool, NULL);
    return made(pool) == ESP_OK ? err : ESP_ERR_NO_MEM;
}

enum { DELETE_IN_USE, ALLOC_EMPTY, FREE_TWICE, FREE_NULL };

/** Uses a pool of one block. */
static esp_err_t use_pool(int how)
{
    memory_pool_t *pool = make_pool();
    if (pool == NULL) {
        return ESP_ERR_NO_MEM;
    }
    esp_err_t err = ESP_OK;
    void *block = memory_pool_alloc(pool);
    switch (how) {
    case DELETE_IN_USE: err = memory_pool_delete(pool); break;
    case ALLOC_EMPTY: err = memory_pool_alloc(pool) == NULL ? ESP_FAIL : ESP_OK; break;
    case FREE_NULL: err = memory_pool_free(pool, NULL); break;
    default: break;
    }
    memory_pool_free(pool, block);
    if (how == FREE_TWICE) {
        err = memory_pool_free(pool, block);
    }
    return memory_pool_delete(pool) == ESP_OK ? err : ESP_ERR_NOT_FINISHED;
}

#define POOL_CASES(X)                                                                           \
    X(pool, create_name_null, made(memory_pool_create(NULL, POOL_BLOCK, 1, MALLOC_CAP_SPIRAM))) \
    X(pool, create_block_zero, make_of(0, 1))                                                   \
    X(pool, create_block_too_large, make_of(SIZE_MAX, 1))                                       \
    X(pool, create_block_overflow, make_of(OVERFLOW_BLOCK, OVERFLOW_COUNT))                     \
    X(pool, create_count_zero, make_of(POOL_BLOCK, 0))                                          \
    X(pool, create_count_at_limit, make_of(1, MEMORY_POOL_BLOCKS_MAX))                          \
    X(pool, create_count_above_limit, make_of(1, MEMORY_POOL_BLOCKS_MAX + 1))                   \
    X(pool, create_all, make_all())                                                             \
    X(pool, delete_null, memory_pool_delete(NULL))                                              \
    X(pool, delete_again, memory_pool_delete(deleted_pool()))                                   \
    X(pool, delete_foreign, pass_foreign(true))                                                 \
    X(pool, delete_in_use, use_pool(DELETE_IN_USE))                                             \
    X(pool, stats_null, memory_pool_get_stats(NULL, &s_pool_stats))                             \
    X(pool, stats_deleted, memory_pool_get_stats(deleted_pool(), &s_pool_stats))                \
    X(pool, stats_foreign, pass_foreign(false))                                                 \
    X(pool, stats_out_null, get_stats_into_null())                                              \
    X(pool, at_limit, memory_pool_at(CONFIG_HOTPIN_MEM_POOLS_MAX) == NULL ? ESP_FAIL : ESP_OK)  \
    X(pool, alloc_empty, use_pool(ALLOC_EMPTY))                                                 \
    X(pool, free_null, use_pool(FREE_NULL))                                                     \
    X(pool, free_twice, use_pool(FREE_TWICE))
#else
#define POOL_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_PREDICT
#include "memory_predict.h"

static memory_predict_cost_t s_cost;
static size_t s_prediction_count;

static void ignore(const memory_prediction_t *prediction)
{
    (void)prediction;
}

/** Registers callbacks until the list is full, then removes them again. @return the last error;
 * ESP_ERR_INVALID_SIZE: not at the limit */
static esp_err_t fill(void)
{
    size_t count = 0;
    esp_err_t err;
    while ((err = memory_manager_register_prediction_callback(ignore)) == ESP_OK &&
           count < MEMORY_PREDICTION_CALLBACKS_MAX) {
        count++;
    }
    while (memory_manager_unregister_prediction_callback(ignore) == ESP_OK) {
    }
    return count == MEMORY_PREDICTION_CALLBACKS_MAX ? err : ESP_ERR_INVALID_SIZE;
}

#define PREDICT_BEFORE(X)                                                         \
    X(predict, start, memory_predict_start())                                     \
    X(predict, get, memory_manager_get_predictions(NULL, 0, &s_prediction_count)) \
    X(predict, cost, memory_predict_get_cost(&s_cost))
#define PREDICT_CASES(X)                                                                  \
    X(predict, start_again, memory_predict_start())                                       \
    X(predict, callback_null, memory_manager_register_prediction_callback(NULL))          \
    X(predict, callbacks_full, fill())                                                    \
    X(predict, unregister_null, memory_manager_unregister_prediction_callback(NULL))      \
    X(predict, unregister_unknown, memory_manager_unregister_prediction_callback(ignore)) \
    X(predict, get_null, memory_manager_get_predictions(NULL, 1, &s_prediction_count))    \
    X(predict, get_count_null, memory_manager_get_predictions(NULL, 0, NULL))             \
    X(predict, get_none, memory_manager_get_predictions(NULL, 0, &s_prediction_count))    \
    X(predict, cost_null, memory_predict_get_cost(NULL))
#else
#define PREDICT_BEFORE(X)
#define PREDICT_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_PRIORITY
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_priority.h"

#define NORMAL uxTaskPriorityGet(NULL)
#define PRIORITY_MAX (configMAX_PRIORITIES - 1)

static memory_priority_t s_entry;

/** Registers the calling task `times` times, then unregisters it. @return the last error */
static esp_err_t register_task(unsigned normal, unsigned pressed, int times)
{
    esp_err_t err = ESP_OK;
    for (int i = 0; i < times; i++) {
        err = memory_priority_register(&s_entry, xTaskGetCurrentTaskHandle(), normal, pressed);
    }
    memory_priority_unregister(&s_entry);
    return err;
}

#define PRIORITY_BEFORE(X)                                  \
    X(priority, start, memory_priority_start())             \
    X(priority, register, register_task(NORMAL, NORMAL, 1)) \
    X(priority, unregister, memory_priority_unregister(&s_entry))
#define PRIORITY_CASES(X)                                                                                \
    X(priority, start_again, memory_priority_start())                                                    \
    X(priority, entry_null, memory_priority_register(NULL, xTaskGetCurrentTaskHandle(), NORMAL, NORMAL)) \
    X(priority, task_null, memory_priority_register(&s_entry, NULL, NORMAL, NORMAL))                     \
    X(priority, normal_zero, register_task(0, NORMAL, 1))                                                \
    X(priority, pressed_zero, register_task(NORMAL, 0, 1))                                               \
    X(priority, normal_above_limit, register_task(PRIORITY_MAX + 1, NORMAL, 1))                          \
    X(priority, pressed_above_limit, register_task(NORMAL, PRIORITY_MAX + 1, 1))                         \
    X(priority, pressed_at_limit, register_task(NORMAL, PRIORITY_MAX, 1))                                \
    X(priority, register_twice, register_task(NORMAL, NORMAL, 2))                                        \
    X(priority, unregister_null, memory_priority_unregister(NULL))                                       \
    X(priority, unregister_unknown, memory_priority_unregister(&s_entry))
#else
#define PRIORITY_BEFORE(X)
#define PRIORITY_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_PROFILE
#include "memory_profile.h"

static esp_err_t measure_pairs(uint32_t pairs)
{
    memory_profile_cost_t cost;
    return memory_profile_measure(pairs, &cost);
}

static esp_err_t read_site(size_t index)
{
    memory_profile_site_t site;
    return memory_profile_get_site(index, &site) ? ESP_OK : ESP_FAIL;
}

static esp_err_t read_task(size_t index)
{
    memory_profile_task_t task;
    return memory_profile_get_task(index, &task) ? ESP_OK : ESP_FAIL;
}

#define PROFILE_CASES(X)                                      \
    X(profile, measure_zero, measure_pairs(0))                \
    X(profile, measure_one, measure_pairs(1))                 \
    X(profile, measure_null, memory_profile_measure(1, NULL)) \
    X(profile, site_above_limit, read_site(SIZE_MAX))         \
    X(profile, task_above_limit, read_task(SIZE_MAX))
#else
#define PROFILE_CASES(X)
#endif

#if CONFIG_HOTPIN_MEM_RECLAIM
#include "esp_heap_caps.h"
#include "memory_reclaim.h"

static void free_nothing(void)
{
}

/** Registers a reclaimer `times` times, then unregisters it. @return the last error */
static esp_err_t register_reclaimer(memory_reclaim_t reclaimer, int times)
{
    static memory_reclaim_t s_reclaimer;
    s_reclaimer = reclaimer;
    esp_err_t err = ESP_OK;
    for (int i = 0; i < times; i++) {
        err = memory_reclaim_register(&s_reclaimer);
    }
    memory_reclaim_unregister(&s_reclaimer);
    return err;
}

#define CAPS MALLOC_CAP_SPIRAM
#define RECLAIMER(given_name, function, given_caps, trigger) \
    ((memory_reclaim_t){.name = given_name, .reclaim = function, .caps = given_caps, .from = trigger})
#define GOOD_RECLAIMER RECLAIMER("edge case", free_nothing, CAPS, MEMORY_RECLAIM_LOW)

static memory_reclaim_t s_unknown;

static struct {
    esp_err_t registering, unregistering;
    size_t listed;
} s_inside;

static void call_from_reclaimer(void)
{
    memory_reclaim_t listed;
    s_unknown = GOOD_RECLAIMER;
    s_inside.registering = memory_reclaim_register(&s_unknown);
    s_inside.unregistering = memory_reclaim_unregister(&s_unknown);
    s_inside.listed = memory_reclaim_get_all(&listed, 1);
}

static bool is_enough(void *context)
{
    (void)context;
    return true;
}

/** Runs call_from_reclaimer(), and no other reclaimer. */
static esp_err_t call_inside(const esp_err_t *result)
{
    static memory_reclaim_t s_reclaimer;
    s_reclaimer = RECLAIMER("edge case", call_from_reclaimer, CAPS, MEMORY_RECLAIM_LOW);
    s_inside.registering = ESP_ERR_NOT_FINISHED;
    s_inside.unregistering = ESP_ERR_NOT_FINISHED;
    esp_err_t err = memory_reclaim_register(&s_reclaimer);
    if (err == ESP_OK) {
        memory_reclaim_until(CAPS, is_enough, NULL);
        err = memory_reclaim_unregister(&s_reclaimer);
    }
    return err == ESP_OK ? *result : err;
}

static esp_err_t list_inside(void)
{
    s_inside.listed = 1;
    esp_err_t err = call_inside(&s_inside.registering);
    return err == ESP_ERR_INVALID_STATE && s_inside.listed == 0 ? ESP_FAIL : err;
}

#define RECLAIM_BEFORE(X) X(reclaim, start, memory_reclaim_start())
#define RECLAIM_CASES(X)                                                                           \
    X(reclaim, start_again, memory_reclaim_start())                                                \
    X(reclaim, register_null, memory_reclaim_register(NULL))                                       \
    X(reclaim, register_without_name,                                                              \
      register_reclaimer(RECLAIMER(NULL, free_nothing, CAPS, MEMORY_RECLAIM_LOW), 1))              \
    X(reclaim, register_without_function,                                                          \
      register_reclaimer(RECLAIMER("edge case", NULL, CAPS, MEMORY_RECLAIM_LOW), 1))               \
    X(reclaim, register_without_caps,                                                              \
      register_reclaimer(RECLAIMER("edge case", free_nothing, 0, MEMORY_RECLAIM_LOW), 1))          \
    X(reclaim, register_last_trigger,                                                              \
      register_reclaimer(RECLAIMER("edge case", free_nothing, CAPS, MEMORY_RECLAIM_REQUEST), 1))   \
    X(reclaim, register_unknown_trigger,                                                           \
      register_reclaimer(RECLAIMER("edge case", free_nothing, CAPS, MEMORY_RECLAIM_TRIGGERS_), 1)) \
    X(reclaim, register_twice, register_reclaimer(GOOD_RECLAIMER, 2))                              \
    X(reclaim, register_inside, call_inside(&s_inside.registering))                                \
    X(reclaim, unregister_inside, call_inside(&s_inside.unregistering))                            \
    X(reclaim, list_inside, list_inside())                                                         \
    X(reclaim, unregister_null, memory_reclaim_unregister(NULL))                                   \
    X(reclaim, unregister_unknown, memory_reclaim_unregister(&s_unknown))                          \
    X(reclaim, watch_nothing, memory_reclaim_watch(0, 1))                                          \
    X(reclaim, trigger_unknown,                                                                    \
      memory_reclaim_trigger_name(MEMORY_RECLAIM_TRIGGERS_)[0] == '?' ? ESP_FAIL : ESP_OK)
#else
#define RECLAIM_BEFORE(X)
#define RECLAIM_CASES(X)
#endif

#define BEFORE_INIT_CASES(X) \
    ADAPT_BEFORE(X)          \
    CRASH_BEFORE(X)          \
    HISTORY_BEFORE(X) OPTIMIZE_BEFORE(X) PREDICT_BEFORE(X) PRIORITY_BEFORE(X) RECLAIM_BEFORE(X)
#define CASES(X)     \
    ADAPT_CASES(X)   \
    CRASH_CASES(X)   \
    HISTORY_CASES(X) \
    OPTIMIZE_CASES(X) POOL_CASES(X) PREDICT_CASES(X) PRIORITY_CASES(X) PROFILE_CASES(X) RECLAIM_CASES(X)

/* X(component, name, call) */
#define CASE_FUNCTION(component, name, call) API_CASE_FUNCTION(component##_##name, call)
#define CASE_ENTRY(component, name, call) {#component "." #name, case_##component##_##name},

BEFORE_INIT_CASES(CASE_FUNCTION)
CASES(CASE_FUNCTION)

static const api_case_t BEFORE_INIT[] = {BEFORE_INIT_CASES(CASE_ENTRY)};
static const api_case_t OPTIONAL[] = {CASES(CASE_ENTRY)};
static esp_err_t s_results[ARRAY_SIZE(BEFORE_INIT)];

const api_cases_t API_CASES_OPTIONAL_BEFORE_INIT = {BEFORE_INIT, ARRAY_SIZE(BEFORE_INIT), s_results};
const api_cases_t API_CASES_OPTIONAL = {OPTIONAL, ARRAY_SIZE(OPTIONAL), NULL};
