/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * gcov's counters in a shared file, so that they survive no matter how the process ends: a virtual board
 * kills its firmware at each reset. Only builds with HOTPIN_COVERAGE contain this file.
 *
 * HOTPIN_COUNTERS names the folder of the counter files; without it nothing is kept. With
 * HOTPIN_COUNTERS_DUMP the program only writes gcov's data files from the counters and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* From the linker script, page-aligned. */
extern char __start_gcov_counters[];
extern char __stop_gcov_counters[];

void __gcov_dump(void);

static void __attribute__((noreturn)) fail(const char *path)
{
    fprintf(stderr, "native: counter file %s: %s\n", path, strerror(errno));
    _exit(2);
}

/* Runs before any code that is counted. */
static void __attribute__((constructor(101))) map_counters(void)
{
    const char *folder = getenv("HOTPIN_COUNTERS");
    size_t length = (size_t)(__stop_gcov_counters - __start_gcov_counters);
    if (folder == NULL || length == 0) {
        return;
    }
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, HOTPIN_COUNTERS_NAME);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)length) != 0 ||
        mmap(__start_gcov_counters, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED) {
        fail(path);
    }
    close(fd);
}

/* Runs after gcov has registered all files. */
static void __attribute__((constructor)) dump_on_request(void)
{
    if (getenv("HOTPIN_COUNTERS_DUMP") != NULL) {
        __gcov_dump();
        _exit(0);
    }
}
