/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Start-up, from the start of the process to app_main(): sets up the heap as ESP-IDF leaves it, prints
 * ESP-IDF's boot log, and starts the tasks. The virtual board models the ROM and the second-stage bootloader.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "chip/flash.h"
#include "chip/host_io.h"
#include "chip/params.h"
#include "chip/rom.h"
#include "chip/rtc.h"
#include "chip/uart.h"
#include "esp_app_desc.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "esp_system.h"
#include "esp_task.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "heap/esp_heap_model.h"
#include "heap/heap_caps_native.h"
#include "idf/app_desc.h"
#include "idf/core_dump.h"
#include "idf/faults.h"
#include "idf/idle_hooks.h"
#include "idf/panic.h"
#include "idf/system.h"
#include "idf/task_wdt.h"
#include "kernel/hooks.h"
#include "kernel/object.h"
#include "kernel/run.h"
#include "kernel/task.h"
#include "sdkconfig.h"

/* Name of the startup line with the main task's stack and TCB. */
#define MAIN_TASK_STARTUP "main task"

/* Duration of the PSRAM test. Recorded boot logs: 0.79 s for 4 MB. */
#define PSRAM_TEST_US_PER_MB 197000

extern void app_main(void);

/* Advances the clock by the time that this startup step takes on the chip. Call it before the step logs. */
static void step(uint64_t us)
{
    native_consume_us(us);
}

static const char *type_name(heap_type_t type)
{
    switch (type) {
    case HEAP_TYPE_DRAM: return "DRAM";
    case HEAP_TYPE_DIRAM: return "D/IRAM";
    case HEAP_TYPE_IRAM: return "IRAM";
    default: return NULL;
    }
}

typedef struct {
    uint32_t start;
    uint32_t length;
    const char *type;
} region_t;

static void log_heaps(void)
{
    ESP_EARLY_LOGI("heap_init", "Initializing. RAM available for dynamic allocation:");
    region_t regions[HEAP_MAX_HEAPS];
    size_t count = 0;
    for (uint32_t i = 0; i < heap_system_count(g_native_params.heap); i++) {
        heap_description_t heap;
        heap_figures_t figures;
        if (!heap_system_describe(g_native_params.heap, i, &heap, &figures) || type_name(heap.type) == NULL) {
            continue;
        }
        size_t at = count++;
        for (; at > 0 && regions[at - 1].start > heap.start; at--) { // by address
            regions[at] = regions[at - 1];
        }
        regions[at] = (region_t){heap.start, heap.length, type_name(heap.type)};
    }
    for (size_t i = 0; i < count; i++) {
        ESP_EARLY_LOGI("heap_init", "At %08" PRIX32 " len %08" PRIX32 " (%" PRIu32 " KiB): %s",
                       regions[i].start, regions[i].length, regions[i].length / 1024, regions[i].type);
    }
}

/* Bytes of PSRAM that can be mapped: at most 4 MB, even of an 8 MB chip. */
static uint32_t mapped_psram(void)
{
    heap_description_t heap;
    heap_figures_t figures;
    for (uint32_t i = 0; heap_system_describe(g_native_params.heap, i, &heap, &figures); i++) {
        if (heap.type == HEAP_TYPE_SPIRAM) {
            return heap.length;
        }
    }
    return 0;
}

static void log_psram_found(void)
{
    uint32_t megabytes = g_native_params.psram_bytes / (1024 * 1024);
#if CONFIG_SPIRAM
    ESP_EARLY_LOGI("quad_psram", "This chip is ESP32-D0WD");
    step(8000);
    if (megabytes == 0) {
        ESP_EARLY_LOGE("quad_psram",
                       "PSRAM ID read error: 0x00000000, PSRAM chip not found or not supported");
#if CONFIG_SPIRAM_IGNORE_NOTFOUND
        ESP_EARLY_LOGE("esp_psram", "PSRAM enabled but initialization failed. Bailing out.");
        ESP_EARLY_LOGI("cpu_start", "Failed to init external RAM; continuing without it.");
#else
        ESP_DRAM_LOGE("cpu_start", "Failed to init external RAM!");
        native_abort_at(__builtin_return_address(0), NULL);
#endif
        return;
    }
    ESP_EARLY_LOGI("esp_psram", "Found %" PRIu32 "MB PSRAM device", megabytes);
    ESP_EARLY_LOGI("esp_psram", "Speed: 40MHz");
    if (g_native_cores == 1) {
        ESP_EARLY_LOGI("esp_psram", "PSRAM initialized, cache is in normal (1-core) mode.");
    } else {
        ESP_EARLY_LOGI("esp_psram", "PSRAM initialized, cache is in low/high (2-core) mode.");
    }
    if (mapped_psram() < g_native_params.psram_bytes) {
        ESP_EARLY_LOGW("esp_psram",
                       "Virtual address not enough for PSRAM, map as much as we can. %" PRIu32 "MB is mapped",
                       mapped_psram() / (1024 * 1024));
    }
#else
    (void)megabytes;
#endif
}

static void log_start(void)
{
    const esp_app_desc_t *app = esp_app_get_description();
    uint32_t psram_kb = mapped_psram() / 1024;
    uint32_t revision = g_native_params.chip_revision;
    log_psram_found();
    step(8000);
    ESP_EARLY_LOGI("cpu_start", "%s app", g_native_cores == 1 ? "Unicore" : "Multicore");
#if CONFIG_SPIRAM_MEMTEST
    if (psram_kb > 0) {
        step(psram_kb * PSRAM_TEST_US_PER_MB / 1024);
        ESP_EARLY_LOGI("esp_psram", "SPI SRAM memory test OK");
    }
#endif
    ESP_EARLY_LOGI("cpu_start", "GPIO 3 and 1 are used as console UART I/O pins");
    ESP_EARLY_LOGI("cpu_start", "Pro cpu start user code");
    ESP_EARLY_LOGI("cpu_start", "cpu freq: %d Hz", CONFIG_ESP_DEFAULT_CPU_FREQ_MHZ * 1000000);
    ESP_EARLY_LOGI("app_init", "Application information:");
    ESP_EARLY_LOGI("app_init", "Project name:     %.32s", app->project_name);
    ESP_EARLY_LOGI("app_init", "App version:      %.32s", app->version);
    ESP_EARLY_LOGI("app_init", "ELF file SHA256:  %s...", esp_app_get_elf_sha256_str());
    ESP_EARLY_LOGI("app_init", "ESP-IDF:          %.32s", app->idf_ver);
    ESP_EARLY_LOGI("efuse_init", "Min chip rev:     v0.0");
    ESP_EARLY_LOGI("efuse_init", "Max chip rev:     v3.99 ");
    ESP_EARLY_LOGI("efuse_init", "Chip rev:         v%" PRIu32 ".%" PRIu32, revision / 100, revision % 100);
    log_heaps();
    if (psram_kb > 0) {
        step(13000);
        ESP_EARLY_LOGI("esp_psram", "Adding pool of %" PRIu32 "K of PSRAM memory to heap allocator",
                       psram_kb);
#if CONFIG_SPIRAM_USE_MALLOC
        heap_caps_malloc_extmem_enable(CONFIG_SPIRAM_MALLOC_ALWAYSINTERNAL);
#endif
    }
    step(60000);
    ESP_EARLY_LOGI("spi_flash", "detected chip: gd");
    ESP_EARLY_LOGI("spi_flash", "flash io: dio");
    native_core_dump_init();
    step(20000);
}

static bool has_pool(void)
{
    for (uint32_t i = 0; i < heap_system_count(g_native_params.heap); i++) {
        heap_description_t heap;
        heap_figures_t figures;
        if (heap_system_describe(g_native_params.heap, i, &heap, &figures) &&
            (heap.type == HEAP_TYPE_POOL || heap.type == HEAP_TYPE_POOL_V542)) {
            return true;
        }
    }
    return false;
}

static void main_task(void *argument)
{
    (void)argument;
    ESP_LOGI("main_task", "Started on CPU%d", 0);
    step(10000);
    if (has_pool()) {
        ESP_LOGI("esp_psram", "Reserving pool of 32K of internal memory for DMA/internal allocations");
    }
    ESP_LOGI("main_task", "Calling app_main()");
    if (g_native_faults.boot_loop) {
        native_panic("abort() was called at PC 0x00000000 on core 0", ESP_RST_PANIC);
    }
    app_main();
    ESP_LOGI("main_task", "Returned from app_main()");
    vTaskDelete(NULL);
}

static void on_idle(int core)
{
    native_idle_hooks_run(core);
    if (core == 0) {
        native_task_wdt_idle_ran();
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PARAMS-FILE  (started by the virtual board; fd 0 and 1 are its UART 0)\n",
                argv[0]);
        return 2;
    }
    native_params_load(argv[1], native_faults_line);
    native_flash_init();
    native_rtc_init();
    native_random_init();
    heap_caps_native_init(g_native_params.heap);
    g_native_hooks.host_now_ns = native_host_now_ns;
    g_native_hooks.host_poll = native_host_poll;
    g_native_hooks.host_exit = native_host_exit;
    g_native_hooks.idle = on_idle;
    native_panic_init();
    native_faults_init();
    native_run_init(g_native_params.start_us, g_native_params.uptime_us, g_native_params.time_scale);
    if (g_native_params.clock_held) {
        native_clock_hold();
    }
    native_uart_init();
    native_system_init();
    native_app_desc_init();
    log_start();
    native_task_wdt_start();
    native_scheduler_start(main_task, heap_system_boot_block(g_native_params.heap, MAIN_TASK_STARTUP, 0),
                           heap_system_boot_block(g_native_params.heap, MAIN_TASK_STARTUP, 1),
                           native_clock_idle_step);
}
