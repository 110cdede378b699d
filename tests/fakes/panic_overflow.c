/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Runs sys.panic kind=stack on a part of this program's stack; the end of this part counts as the end of the
 * task's stack. Prints "ok: …" or the error.
 */
#include <stdio.h>
#include <stdlib.h>

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_memory_utils.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "panic_kinds.h"

#define PATTERN 0xA5A5A5A5u
#define BELOW_WORDS 256
#define STACK_WORDS 1024

static volatile uint32_t *s_end;

uint8_t *pxTaskGetStackStart(TaskHandle_t task)
{
    (void)task;
    return (uint8_t *)s_end;
}

/* Fills unused memory below the caller's frame and red zone. */
static __attribute__((noinline)) void fill(void)
{
    volatile uint32_t *frame = __builtin_frame_address(0);
    for (volatile uint32_t *word = frame - 64; word >= s_end - BELOW_WORDS; word--) {
        *word = PATTERN;
    }
}

/* The crash calls this after the overflow, so the memory below this frame contains the bytes that the
 * overflow wrote. */
void vTaskDelay(const TickType_t ticks)
{
    (void)ticks;
    size_t kept = 0, left_out = 0, beyond = 0;
    const volatile uint32_t *frame = __builtin_frame_address(0);
    for (const volatile uint32_t *word = frame - 128; word >= s_end; word--) {
        left_out += *word == PATTERN;
        kept++;
    }
    for (size_t i = 1; i <= BELOW_WORDS; i++) {
        beyond += s_end[-(ptrdiff_t)i] != PATTERN;
    }
    printf("%s: of %zu words %zu were not overwritten; %zu below the end were\n",
           kept > STACK_WORDS / 2 && left_out == 0 && beyond == 0 ? "ok" : "wrong", kept, left_out, beyond);
    exit(0);
}

void *heap_caps_malloc(size_t size, uint32_t caps)
{
    (void)caps;
    return malloc(size);
}

void heap_caps_free(void *block)
{
    free(block);
}

void vPortDisableInterrupts(void)
{
}

void esp_log_write(esp_log_level_t level, const char *tag, const char *format, ...)
{
    (void)level, (void)tag, (void)format;
}

uint32_t esp_log_timestamp(void)
{
    return 0;
}

int main(void)
{
    void (*crash)(void);
    if (panic_find("stack", &crash) != ESP_OK) {
        printf("wrong: no such kind\n");
        return 0;
    }
    s_end = (volatile uint32_t *)__builtin_frame_address(0) - STACK_WORDS;
    fill();
    crash();
    return 0;
}
