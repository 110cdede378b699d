/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Heap usage of kernel objects: each step prints the allocated and the freed blocks, for comparison with
 * recordings.
 */
#include <errno.h>
#include <string.h>
#include "driver/uart.h"
#include "driver/uart_vfs.h"
#include "esp_heap_caps.h"
#include "freertos/FreeRTOS.h"
#include "freertos/event_groups.h"
#include "freertos/queue.h"
#include "freertos/ringbuf.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "drivers/intr.h"
#include "nvs_flash.h"
#include "runtime_test.h"

#define BLOCKS_MAX 512

typedef struct {
    void *ptr;
    size_t size;
} block_t;

typedef struct {
    block_t block[BLOCKS_MAX];
    int count;
} picture_t;

static picture_t s_before;
static picture_t s_after;

static bool collect(walker_heap_into_t heap, walker_block_info_t block, void *context)
{
    (void)heap;
    picture_t *picture = context;
    if (block.used && picture->count < BLOCKS_MAX) {
        picture->block[picture->count++] = (block_t){block.ptr, block.size};
    }
    return true;
}

static void begin(void)
{
    s_before.count = 0;
    heap_caps_walk_all(collect, &s_before);
}

static void print_missing(const picture_t *from, const picture_t *in)
{
    const char *separator = "";
    for (int i = 0; i < from->count; i++) {
        bool there = false;
        for (int j = 0; j < in->count; j++) {
            there |= from->block[i].ptr == in->block[j].ptr && from->block[i].size == in->block[j].size;
        }
        if (!there) {
            bool psram =
                (uintptr_t)from->block[i].ptr >= 0x3F800000 && (uintptr_t)from->block[i].ptr < 0x3FC00000;
            printf("%s[%u,\"%s\"]", separator, (unsigned)from->block[i].size, psram ? "PSRAM" : "internal");
            separator = ",";
        }
    }
}

static void end(const char *what)
{
    s_after.count = 0;
    heap_caps_walk_all(collect, &s_after);
    printf("{\"what\":\"%s\",\"new\":[", what);
    print_missing(&s_after, &s_before);
    printf("],\"gone\":[");
    print_missing(&s_before, &s_after);
    printf("]}\n");
}

#define STEP(what, ...) \
    do {                \
        begin();        \
        __VA_ARGS__;    \
        end(what);      \
    } while (0)

static void sleeper(void *unused)
{
    (void)unused;
    while (true) {
        vTaskDelay(portMAX_DELAY);
    }
}

static void case_allocations(void)
{
    TaskHandle_t task;
    void *block;
    STEP("nothing", (void)0);
    STEP("xTaskCreate(2048)", xTaskCreate(sleeper, "t", 2048, NULL, 1, &task));
    STEP("vTaskDelete", vTaskDelete(task));
    STEP("xTaskCreatePinnedToCore(8192)", xTaskCreatePinnedToCore(sleeper, "t", 8192, NULL, 1, &task, 1));
    STEP("vTaskDelete", vTaskDelete(task));
    STEP("xQueueCreate(16,24)", xQueueCreate(16, 24));
    STEP("xQueueCreate(8,4)", xQueueCreate(8, 4));
    STEP("xSemaphoreCreateMutex", xSemaphoreCreateMutex());
    STEP("xSemaphoreCreateBinary", xSemaphoreCreateBinary());
    STEP("xSemaphoreCreateRecursiveMutex", xSemaphoreCreateRecursiveMutex());
    STEP("xEventGroupCreate", xEventGroupCreate());
    STEP("xRingbufferCreateWithCaps(65536,BYTEBUF,SPIRAM)",
         xRingbufferCreateWithCaps(65536, RINGBUF_TYPE_BYTEBUF, MALLOC_CAP_SPIRAM));
    STEP("nvs_flash_init (first, empty partition)", nvs_flash_init());
    STEP("heap_caps_malloc(4096,DMA)", heap_caps_malloc(4096, MALLOC_CAP_DMA));
    STEP("malloc+free 32768 DMA", block = heap_caps_malloc(32768, MALLOC_CAP_DMA); heap_caps_free(block));
    native_intr_free(
        native_intr_alloc(NATIVE_INTR_I2S1)); // as in the recording, the UART reuses the line's descriptor
    STEP("uart_driver_install(0,256,4096,0)", uart_driver_install(UART_NUM_0, 256, 4096, 0, NULL, 0));
    STEP("uart_vfs_dev_use_driver", uart_vfs_dev_use_driver(UART_NUM_0));
}

/* Every deleted object frees all its memory, no matter how it was created. */
static void case_give_back(void)
{
    nvs_flash_init();
    printf("free %u\n", (unsigned)heap_caps_get_free_size(MALLOC_CAP_DEFAULT));
    for (int i = 0; i < 50; i++) {
        vQueueDelete(xQueueCreate(3, 5));
        vSemaphoreDelete(xSemaphoreCreateMutex());
        vSemaphoreDeleteWithCaps(xSemaphoreCreateMutexWithCaps(MALLOC_CAP_SPIRAM));
        vRingbufferDeleteWithCaps(xRingbufferCreateWithCaps(100, RINGBUF_TYPE_BYTEBUF, MALLOC_CAP_SPIRAM));
        nvs_handle_t handle;
        nvs_open("n", NVS_READWRITE, &handle);
        nvs_close(handle);
        vTaskDelay(1);
        if (i == 0 || i == 49) {
            printf("free %u\n", (unsigned)heap_caps_get_free_size(MALLOC_CAP_DEFAULT));
        }
    }
}

static void case_no_memory(void)
{
    while (heap_caps_malloc(1024, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT) != NULL) {
    }
    while (heap_caps_malloc(16, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT) != NULL) {
    }
    TaskHandle_t task = NULL;
    CHECK_EQUAL(xTaskCreate(sleeper, "t", 2048, NULL, 1, &task), errCOULD_NOT_ALLOCATE_REQUIRED_MEMORY);
    CHECK(task == NULL);
    CHECK(xQueueCreate(1, 4) == NULL);
    CHECK(xSemaphoreCreateMutex() == NULL);
    CHECK(xEventGroupCreate() == NULL);
}

static void case_boot_figures(void)
{
    printf("dma %u\n", (unsigned)heap_caps_get_free_size(MALLOC_CAP_DMA));
    printf("internal %u\n", (unsigned)heap_caps_get_free_size(MALLOC_CAP_INTERNAL));
    printf("psram %u\n", (unsigned)heap_caps_get_free_size(MALLOC_CAP_SPIRAM));
    printf("largest %u\n", (unsigned)heap_caps_get_largest_free_block(MALLOC_CAP_DMA));
    char *block = malloc(100);
    printf("malloc %d\n", (uintptr_t)block >= 0x3FFAE000 && (uintptr_t)block < 0x40000000);
    memset(block, 1, 100);
    free(block);
}

static bool in_psram(const void *ptr)
{
    return (uintptr_t)ptr >= 0x3F800000 && (uintptr_t)ptr < 0x3FC00000;
}

static bool holds(const uint8_t *ptr, uint8_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (ptr[i] != value) {
            return false;
        }
    }
    return true;
}

/* malloc() and friends put small blocks in internal memory, and blocks of more than 16,384 bytes in PSRAM. */
static void case_libc(void)
{
    size_t before = heap_caps_get_free_size(MALLOC_CAP_8BIT);
    uint8_t *block = malloc(1000);
    CHECK(block != NULL && !in_psram(block));
    memset(block, 0x5A, 1000);
    block = realloc(block, 16384);
    CHECK(block != NULL && !in_psram(block) && holds(block, 0x5A, 1000));
    block = realloc(block, 16385);
    CHECK(block != NULL && in_psram(block) && holds(block, 0x5A, 1000));
    block = realloc(block, 500);
    CHECK(block != NULL && !in_psram(block) && holds(block, 0x5A, 500));
    CHECK(realloc(block, 8 << 20) == NULL);
    CHECK(holds(block, 0x5A, 500)); // a failed realloc leaves the block unchanged
    CHECK(realloc(block, 0) == NULL);
    CHECK_EQUAL(heap_caps_get_free_size(MALLOC_CAP_8BIT), before);

    uint8_t *zeroed = calloc(100, 7);
    CHECK(zeroed != NULL && holds(zeroed, 0, 700));
    CHECK(calloc(0x10000, 0x10000) == NULL);
    free(zeroed);

    uint8_t *aligned = aligned_alloc(256, 1000);
    CHECK(aligned != NULL && (uintptr_t)aligned % 256 == 0 && !in_psram(aligned));
    free(aligned);
    aligned = memalign(64, 20000);
    CHECK(aligned != NULL && (uintptr_t)aligned % 64 == 0 && in_psram(aligned));
    aligned = realloc(aligned, 30000); // an aligned block is reallocated like any other
    CHECK(aligned != NULL && in_psram(aligned));
    free(aligned);
    CHECK(aligned_alloc(3, 100) == NULL);

    void *out = &before;
    CHECK_EQUAL(posix_memalign(&out, 64, 8 << 20), ENOMEM);
    CHECK(out == &before);
    CHECK_EQUAL(posix_memalign(&out, 64, 0), 0);
    CHECK(out == NULL);
    CHECK_EQUAL(posix_memalign(&out, 64, 100), 0);
    CHECK(out != NULL && (uintptr_t)out % 64 == 0);
    free(out);
    CHECK_EQUAL(heap_caps_get_free_size(MALLOC_CAP_8BIT), before);
}

const test_case_t g_alloc_cases[] = {
    {"libc", case_libc},           {"allocations", case_allocations},   {"give_back", case_give_back},
    {"no_memory", case_no_memory}, {"boot_figures", case_boot_figures}, {NULL, NULL},
};
