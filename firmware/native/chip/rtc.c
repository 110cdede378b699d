/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * RTC slow memory: the section rtc_noinit (RTC_NOINIT_ATTR) is on separate pages, mapped from rtc_file, so
 * that it survives no matter how the process ends. The last bytes of the file contain the runtime's own
 * reset hint.
 */
#include "chip/rtc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "chip/host_io.h"
#include "chip/params.h"
#include "esp_rom_crc.h"

#define RTC_BYTES 8192u
#define HINT_BYTES 16u /* at the end of the file */

typedef struct {
    uint32_t reason;
    uint32_t check;
} hint_t;

/* From the linker script: page-aligned start, end of the used part, page-aligned end. */
extern uint8_t _rtc_noinit_start[];
extern uint8_t _rtc_noinit_end[];
extern uint8_t __native_rtc_noinit_pages_end[];

static uint8_t *s_file;

static void __attribute__((noreturn)) fail(const char *why)
{
    fprintf(stderr, "native: rtc_file %s: %s\n", g_native_params.rtc_file, why);
    native_host_exit(2);
}

void native_rtc_init(void)
{
    int fd = open(g_native_params.rtc_file, O_RDWR | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        fail(strerror(errno));
    }
    if (info.st_size != RTC_BYTES) {
        fail("its size must be 8192 bytes");
    }
    size_t used = (size_t)(_rtc_noinit_end - _rtc_noinit_start);
    if (used > RTC_BYTES - HINT_BYTES) {
        fail("RTC_NOINIT_ATTR variables are larger than RTC slow memory");
    }
    s_file = mmap(NULL, RTC_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (s_file == MAP_FAILED) {
        fail(strerror(errno));
    }
    size_t length = (size_t)(__native_rtc_noinit_pages_end - _rtc_noinit_start);
    if (length > 0 && mmap(_rtc_noinit_start, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                           0) == MAP_FAILED) {
        fail(strerror(errno));
    }
    close(fd);
}

static uint32_t check_of(uint32_t reason)
{
    return esp_rom_crc32_le(0, (const uint8_t *)&reason, sizeof reason);
}

uint32_t native_rtc_hint_take(void)
{
    hint_t hint;
    memcpy(&hint, s_file + RTC_BYTES - HINT_BYTES, sizeof hint);
    memset(s_file + RTC_BYTES - HINT_BYTES, 0, sizeof hint);
    return hint.check == check_of(hint.reason) ? hint.reason : NATIVE_RESET_NO_HINT;
}

void native_rtc_hint_set(uint32_t reason)
{
    hint_t hint = {.reason = reason, .check = check_of(reason)};
    if (s_file != NULL) {
        memcpy(s_file + RTC_BYTES - HINT_BYTES, &hint, sizeof hint);
    }
}
