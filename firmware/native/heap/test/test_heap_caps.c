/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tests esp_heap_caps.h on heaps at the chip's addresses: cases that the Python tests of the model can't
 * cover. Run under AddressSanitizer and UBSan. Prints the first failed check and exits with status 1.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "esp_heap_caps.h"
#include "heap_caps_native.h"

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

/* Runs `statement`, which must panic; its message is then in s_panic_message. */
#define CHECK_PANICS(statement)                                                       \
    do {                                                                              \
        s_panic_message[0] = '\0';                                                    \
        if (setjmp(s_after_panic) == 0) {                                             \
            statement;                                                                \
            fprintf(stderr, "%s:%d: no panic: %s\n", __FILE__, __LINE__, #statement); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

static jmp_buf s_after_panic;
static char s_panic_message[256];

static struct {
    int calls;
    size_t size;
    uint32_t caps;
    const char *function;
} s_failed;

static void on_panic(const char *found, const char *assertion, const char *note)
{
    (void)note;
    snprintf(s_panic_message, sizeof(s_panic_message), "%s\n%s", found != NULL ? found : "", assertion);
    longjmp(s_after_panic, 1);
}

static void on_failed(size_t size, uint32_t caps, const char *function)
{
    s_failed.calls++;
    s_failed.size = size;
    s_failed.caps = caps;
    s_failed.function = function;
}

/* The memory map of recorded build a67f01a with the newer pool. Only the heaps' records and the pool are
 * allocated. */
static heap_system_t *start(void)
{
    static const char *const lines[][2] = {
        {"heap", "0x3FFAE6E0,6432,DRAM"},
        {"heap", "0x3FFC9480,93056,DRAM"},
        {"heap", "0x3FFE0440,15072,DIRAM"},
        {"heap", "0x3FFE4350,113840,DIRAM"},
        {"heap", "0x4009AD60,21152,IRAM"},
        {"heap", "0x3F800000,4194304,SPIRAM"},
        {"startup", "INTERNAL,8BIT:4096+352:main task"},
        {"pool", "32768,1"},
    };
    heap_system_t *system = heap_system_create(HEAP_BACKING_TARGET);
    CHECK(system != NULL);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!heap_system_boot_line(system, lines[i][0], lines[i][1])) {
            fprintf(stderr, "%s=%s: %s\n", lines[i][0], lines[i][1], heap_system_error(system));
            exit(1);
        }
    }
    heap_caps_native_init(system);
    heap_caps_native_set_panic(on_panic);
    heap_caps_malloc_extmem_enable(16384);
    CHECK(heap_caps_register_failed_alloc_callback(on_failed) == ESP_OK);
    memset(&s_failed, 0, sizeof(s_failed));
    return system;
}

static bool failed_once(size_t size, uint32_t caps, const char *function)
{
    bool as_expected = s_failed.calls == 1 && s_failed.size == size && s_failed.caps == caps &&
                       strcmp(s_failed.function, function) == 0;
    memset(&s_failed, 0, sizeof(s_failed));
    return as_expected;
}

static void test_pointers_are_the_chips_addresses(void)
{
    uint8_t *psram = heap_caps_malloc(100000, MALLOC_CAP_SPIRAM);
    CHECK((uintptr_t)psram == 0x3F80087C);
    memset(psram, 0x5A, 100000);
    uint8_t *dma = heap_caps_malloc(1000, MALLOC_CAP_DMA);
    CHECK((uintptr_t)dma > 0x3FFAE000 && (uintptr_t)dma < 0x40000000);
    memset(dma, 0xA5, 1000);
    CHECK(heap_system_check(heap_caps_native_system(), MALLOC_CAP_INVALID));
    heap_caps_free(psram);
    heap_caps_free(dma);
    heap_caps_free(NULL);
    CHECK(heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM) == 4128768);
}

static void test_failures_name_the_function_that_gives_up(void)
{
    const size_t huge = 3u << 20;
    CHECK(heap_caps_malloc(huge, MALLOC_CAP_DMA) == NULL);
    CHECK(failed_once(huge, MALLOC_CAP_DMA, "heap_caps_malloc"));
    CHECK(heap_caps_calloc(3, 1u << 20, MALLOC_CAP_DMA) == NULL);
    CHECK(failed_once(huge, MALLOC_CAP_DMA, "heap_caps_calloc"));
    CHECK(heap_caps_aligned_alloc(64, huge, MALLOC_CAP_DMA) == NULL);
    CHECK(failed_once(huge, MALLOC_CAP_DMA, "heap_caps_aligned_alloc"));
    CHECK(heap_caps_aligned_calloc(64, 3, 1u << 20, MALLOC_CAP_DMA) == NULL);
    CHECK(failed_once(huge, MALLOC_CAP_DMA, "heap_caps_aligned_alloc"));
    CHECK(heap_caps_realloc(NULL, huge, MALLOC_CAP_DMA) == NULL);
    CHECK(failed_once(huge, MALLOC_CAP_DMA, "heap_caps_realloc"));
    CHECK(heap_caps_malloc_default(5u << 20) == NULL);
    CHECK(failed_once(5u << 20, MALLOC_CAP_DEFAULT, "heap_caps_malloc_default"));
    CHECK(heap_caps_realloc_default(NULL, 5u << 20) == NULL);
    CHECK(failed_once(5u << 20, MALLOC_CAP_DEFAULT, "heap_caps_realloc_default"));
    CHECK(heap_caps_aligned_alloc_default(32, 5u << 20) == NULL);
    CHECK(failed_once(5u << 20, MALLOC_CAP_DEFAULT, "heap_caps_aligned_alloc_default"));
}

static void test_what_is_no_failure_is_not_reported(void)
{
    CHECK(heap_caps_malloc(0, MALLOC_CAP_DMA) == NULL);
    CHECK(heap_caps_aligned_alloc(3, 100, MALLOC_CAP_DMA) == NULL);
    CHECK(heap_caps_aligned_alloc(0, 100, MALLOC_CAP_DMA) == NULL);
    CHECK(s_failed.calls == 0);
    CHECK(heap_caps_register_failed_alloc_callback(NULL) == ESP_ERR_INVALID_ARG);
    /* malloc() above the limit uses PSRAM; if that is full, it uses internal memory and reports no
     * failure. */
    void *most = heap_caps_malloc(heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM), MALLOC_CAP_SPIRAM);
    void *rest = heap_caps_malloc(heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM), MALLOC_CAP_SPIRAM);
    void *fallen_back = heap_caps_malloc_default(20000);
    CHECK(most != NULL && rest != NULL && (uintptr_t)fallen_back > 0x3FFAE000);
    CHECK(s_failed.calls == 0);
    heap_caps_free(most);
    heap_caps_free(rest);
    heap_caps_free(fallen_back);
}

static void test_sizes_beyond_the_chips_size_t_fail(void)
{
    CHECK(heap_caps_malloc(SIZE_MAX, MALLOC_CAP_8BIT) == NULL);
    CHECK(heap_caps_malloc((size_t)UINT32_MAX + 100, MALLOC_CAP_8BIT) == NULL);
    CHECK(heap_caps_calloc(0x10000, 0x10000, MALLOC_CAP_8BIT) ==
          NULL); // the product is 0 in the chip's 32 bits, but ESP-IDF checks
    CHECK(heap_caps_calloc(SIZE_MAX, 2, MALLOC_CAP_8BIT) == NULL);
    memset(&s_failed, 0, sizeof(s_failed));
    CHECK(heap_caps_aligned_calloc(16, 0x10000, 0x10000, MALLOC_CAP_8BIT) == NULL);
    CHECK(s_failed.calls == 0); // the overflow is detected before the heap is called
    CHECK(heap_caps_calloc_default(SIZE_MAX, 2) == NULL);
}

static void test_contents_are_zeroed_and_kept(void)
{
    uint8_t *dirty = heap_caps_malloc(5000, MALLOC_CAP_DMA);
    memset(dirty, 0xEE, 5000);
    heap_caps_free(dirty);
    uint8_t *clean = heap_caps_calloc(5, 1000, MALLOC_CAP_DMA);
    for (int i = 0; i < 5000; i++) {
        CHECK(clean[i] == 0);
        clean[i] = (uint8_t)i;
    }
    void *barrier = heap_caps_malloc(16, MALLOC_CAP_DMA);
    uint8_t *moved = heap_caps_realloc(clean, 9000, MALLOC_CAP_SPIRAM); // other capabilities: another heap
    CHECK(moved != NULL && (uintptr_t)moved < 0x3FC00000);
    for (int i = 0; i < 5000; i++) {
        CHECK(moved[i] == (uint8_t)i);
    }
    CHECK(heap_caps_get_allocated_size(moved) >= 9000);
    CHECK(heap_caps_realloc(moved, 0, MALLOC_CAP_SPIRAM) == NULL); // frees
    heap_caps_free(barrier);
    CHECK(heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM) == 4128768);
}

static void test_minimum_per_window(void)
{
    size_t free_bytes = heap_caps_get_free_size(MALLOC_CAP_DMA);
    heap_caps_free(heap_caps_malloc(50000, MALLOC_CAP_DMA));
    size_t low = heap_caps_get_minimum_free_size(MALLOC_CAP_DMA);
    CHECK(low <= free_bytes - 50000);
    CHECK(heap_caps_monitor_local_minimum_free_size_stop() == ESP_FAIL);
    size_t psram = heap_caps_get_free_size(MALLOC_CAP_SPIRAM);
    CHECK(heap_caps_monitor_local_minimum_free_size_start() == ESP_OK);
    CHECK(psram - heap_caps_get_free_size(MALLOC_CAP_SPIRAM) == 32); // 7 heaps: 28 bytes and a header
    CHECK(heap_caps_get_minimum_free_size(MALLOC_CAP_DMA) == heap_caps_get_free_size(MALLOC_CAP_DMA));
    heap_caps_free(heap_caps_malloc(2000, MALLOC_CAP_DMA));
    CHECK(heap_caps_get_minimum_free_size(MALLOC_CAP_DMA) < heap_caps_get_free_size(MALLOC_CAP_DMA));
    CHECK(heap_caps_monitor_local_minimum_free_size_start() ==
          ESP_OK); // resets the minima, allocates nothing
    CHECK(psram - heap_caps_get_free_size(MALLOC_CAP_SPIRAM) == 32);
    CHECK(heap_caps_get_minimum_free_size(MALLOC_CAP_DMA) == heap_caps_get_free_size(MALLOC_CAP_DMA));
    CHECK(heap_caps_monitor_local_minimum_free_size_stop() == ESP_OK);
    CHECK(heap_caps_get_minimum_free_size(MALLOC_CAP_DMA) == low);
    CHECK(heap_caps_get_free_size(MALLOC_CAP_SPIRAM) == psram);
}

typedef struct {
    size_t free_bytes;
    size_t blocks;
    intptr_t last_heap;
    size_t heaps;
    bool change_heap;
} walked_t;

static bool count_block(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    walked_t *walked = user_data;
    CHECK((intptr_t)block.ptr > heap.start && (intptr_t)block.ptr + (intptr_t)block.size <= heap.end);
    CHECK(heap_caps_native_locked());
    walked->heaps += heap.start != walked->last_heap;
    walked->last_heap = heap.start;
    walked->blocks++;
    walked->free_bytes += block.used ? 0 : block.size;
    if (walked->change_heap) {
        heap_caps_malloc(16, MALLOC_CAP_8BIT);
    }
    return true;
}

static bool stop_at_first(walker_heap_into_t heap, walker_block_info_t block, void *user_data)
{
    (void)heap;
    (void)block;
    (*(int *)user_data)++;
    return false;
}

static void test_walk_agrees_with_the_figures(void)
{
    multi_heap_info_t info;
    walked_t walked = {0};
    heap_caps_get_info(&info, MALLOC_CAP_DMA);
    heap_caps_walk(MALLOC_CAP_DMA, count_block, &walked);
    CHECK(walked.blocks == info.total_blocks && walked.heaps == 5);
    CHECK(walked.free_bytes < info.total_free_bytes &&
          info.total_free_bytes - walked.free_bytes < 12 * walked.heaps);
    CHECK(info.total_free_bytes == heap_caps_get_free_size(MALLOC_CAP_DMA));
    int calls = 0;
    heap_caps_walk_all(stop_at_first, &calls);
    CHECK(calls == 7); // false skips to the next heap
    CHECK(!heap_caps_native_locked());
    CHECK(heap_caps_get_total_size(MALLOC_CAP_SPIRAM) == 4194304);
}

static void test_changing_the_heap_while_walking_panics(void)
{
    walked_t walked = {.change_heap = true};
    CHECK_PANICS(heap_caps_walk_all(count_block, &walked));
    CHECK(strstr(s_panic_message, "heap_caps_walk") != NULL);
    void *after = heap_caps_malloc(16, MALLOC_CAP_8BIT);
    CHECK(after != NULL);
    heap_caps_free(after);
}

static void test_wrong_frees_panic_in_words(void)
{
    int on_stack = 0;
    uint8_t *block = heap_caps_malloc(100, MALLOC_CAP_DMA);
    CHECK_PANICS(heap_caps_free(&on_stack));
    CHECK(strstr(s_panic_message, "outside heap areas") != NULL);
    CHECK_PANICS(heap_caps_free(block + 8));
    CHECK(strstr(s_panic_message, "CORRUPT HEAP") != NULL);
    CHECK_PANICS(heap_caps_get_allocated_size(&on_stack));
    heap_caps_free(block);
    CHECK_PANICS(heap_caps_free(block));
    CHECK(strstr(s_panic_message, "already marked as free") != NULL);
    CHECK_PANICS(heap_caps_realloc(block, 200, MALLOC_CAP_DMA));
    CHECK(strstr(s_panic_message, "already marked as free") != NULL);
    CHECK(heap_system_check(heap_caps_native_system(), MALLOC_CAP_INVALID));
}

static void test_code_memory(void)
{
    /* IRAM is used first. D/IRAM returns an address on the instruction bus; free() must find its block. */
    void *iram = heap_caps_malloc(19456, MALLOC_CAP_EXEC);
    CHECK((uintptr_t)iram >= 0x4009AD60 && (uintptr_t)iram < 0x400A0000);
    size_t free_bytes = heap_caps_get_free_size(MALLOC_CAP_DMA);
    uint32_t *code = heap_caps_malloc(1000, MALLOC_CAP_EXEC);
    CHECK((uintptr_t)code >= 0x400A0000 && (uintptr_t)code < 0x400C0000);
    memset(code, 0x11, 1000);
    CHECK(heap_caps_get_free_size(MALLOC_CAP_DMA) <= free_bytes - 1008);
    uint32_t *larger = heap_caps_realloc(code, 2000, MALLOC_CAP_EXEC);
    CHECK(larger != NULL && larger[249] == 0x11111111);
    heap_caps_free(larger);
    heap_caps_free(iram);
    CHECK(heap_caps_get_free_size(MALLOC_CAP_DMA) == free_bytes);
    CHECK(heap_caps_malloc(16, MALLOC_CAP_EXEC | MALLOC_CAP_8BIT) == NULL);
}

/* Random calls of every kind; each block contains its own pattern. */
static void test_traffic(void)
{
    enum { SLOTS = 64, STEPS = 20000 };
    static const uint32_t sets[] = {MALLOC_CAP_DMA, MALLOC_CAP_SPIRAM, MALLOC_CAP_DEFAULT,
                                    MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT, MALLOC_CAP_8BIT};
    static struct {
        uint8_t *data;
        size_t size;
    } slots[SLOTS];
    uint32_t random = 12345;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525 + 1013904223;
        int slot = (int)(random >> 8) % SLOTS;
        uint32_t caps = sets[(random >> 16) % (sizeof(sets) / sizeof(sets[0]))];
        size_t size = 1 + (random >> 20) * (random >> 20) % 60000;
        for (size_t i = 0; i < slots[slot].size; i++) {
            CHECK(slots[slot].data[i] == (uint8_t)(slot + 1));
        }
        uint8_t *data = NULL;
        if (slots[slot].data != NULL && random % 3 != 0) {
            heap_caps_free(slots[slot].data);
            slots[slot].size = 0;
        } else if (slots[slot].data != NULL) {
            data = heap_caps_realloc(slots[slot].data, size, caps);
            if (data == NULL) {
                continue;
            }
            for (size_t i = 0; i < slots[slot].size && i < size; i++) {
                CHECK(data[i] == (uint8_t)(slot + 1));
            }
        } else if (random % 5 == 0) {
            data = heap_caps_aligned_alloc((size_t)4 << (random >> 4) % 8, size, caps);
            CHECK(data == NULL || (uintptr_t)data % ((size_t)4 << (random >> 4) % 8) == 0);
        } else {
            data = heap_caps_malloc(size, caps);
        }
        slots[slot].data = data;
        slots[slot].size = data == NULL ? 0 : size;
        if (data != NULL) {
            memset(data, slot + 1, size);
        }
    }
    CHECK(heap_system_check(heap_caps_native_system(), MALLOC_CAP_INVALID));
    for (int slot = 0; slot < SLOTS; slot++) {
        heap_caps_free(slots[slot].data);
    }
    CHECK(heap_caps_get_largest_free_block(MALLOC_CAP_SPIRAM) == 4128768);
    CHECK(heap_caps_get_largest_free_block(MALLOC_CAP_DMA) == 110592);
}

/* Must run last, because it damages the heap. */
static void test_an_overrun_is_found_and_panics(void)
{
    uint8_t *block = heap_caps_malloc(64, MALLOC_CAP_SPIRAM);
    uint8_t *victim = heap_caps_malloc(64, MALLOC_CAP_SPIRAM);
    memset(block, 0xFF, 72);
    CHECK(!heap_system_check(heap_caps_native_system(), MALLOC_CAP_SPIRAM));
    CHECK(heap_system_check(heap_caps_native_system(), MALLOC_CAP_DMA));
    CHECK_PANICS(heap_caps_free(victim));
    CHECK(strstr(s_panic_message, "CORRUPT HEAP") != NULL);
}

int main(void)
{
    heap_system_t *system = start();
    heap_system_t *second = heap_system_create(HEAP_BACKING_TARGET);
    CHECK(!heap_system_boot_line(second, "heap", "0x3F800000,4194304,DRAM")); // the addresses are in use
    CHECK(strstr(heap_system_error(second), "cannot map 0x3f800000") != NULL);
    heap_system_destroy(second);
    CHECK(heap_system_boot_block(system, "main task", 1) != 0);

    test_pointers_are_the_chips_addresses();
    test_failures_name_the_function_that_gives_up();
    test_what_is_no_failure_is_not_reported();
    test_sizes_beyond_the_chips_size_t_fail();
    test_contents_are_zeroed_and_kept();
    test_minimum_per_window();
    test_walk_agrees_with_the_figures();
    test_changing_the_heap_while_walking_panics();
    test_wrong_frees_panic_in_words();
    test_code_memory();
    test_traffic();
    test_an_overrun_is_found_and_panics();
    heap_system_destroy(system);
    puts("heap_caps: all checks passed");
    return 0;
}
