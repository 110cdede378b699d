/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The core dump in flash: ESP-IDF's partition, header, checksum and messages. It contains only the notes with
 * app and cause, the variables with COREDUMP_RTC_DATA_ATTR, and those registers of the crashed task that the
 * panic handler prints. Stacks are in host memory and are not saved.
 */
#include "idf/core_dump.h"

#include <elf.h>
#include <string.h>
#include "chip/flash.h"
#include "chip/host_io.h"
#include "chip/params.h"
#include "esp_app_desc.h"
#include "esp_log.h"
#include "esp_partition.h"
#include "esp_rom_crc.h"
#include "idf/code_address.h"
#include "kernel/clock.h"
#include "kernel/task.h"
#include "sdkconfig.h"

#define TAG "esp_core_dump_flash"
#define ELF_TAG "esp_core_dump_elf"
#define COMMON_TAG "esp_core_dump_common"
#define SECTOR 4096u
#define CACHE_BYTES 32u /* unit of a write; the end is padded to it */
#define VERSION 0x0102u /* ELF with CRC32, chip id 0 */
#define BLANK 0xFFFFFFFFu
#define EM_XTENSA_ 94
#define XTENSA_REGISTERS 64
#define NOTE_PR_STATUS 1
#define NOTE_INFO 8266
#define NOTE_EXTRA_INFO 677
#define NOTE_PANIC_DETAILS 679
#define XTENSA_EXCCAUSE 232
#define XTENSA_EXCVADDR 238
#define NOTES_MAX 1024
#define RTC_ADDRESS 0x50000000u /* address of the variables on the chip */
#define RTC_MAX 8192u

#if CONFIG_ESP_COREDUMP_ENABLE_TO_FLASH

typedef struct {
    uint32_t data_len; /* total length, with padding and checksum */
    uint32_t version;
    uint32_t unused[3]; /* unused in ELF format */
    uint32_t chip_rev;
} header_t;

typedef struct {
    uint32_t signal[3];
    uint16_t current_signal, padding;
    uint32_t pending, held;
    uint32_t task; /* address of its TCB */
    uint32_t parent, group, session;
    uint32_t times[8];
    uint32_t pc, ps, lbeg, lend, lcount, sar, windowstart, windowbase;
    uint32_t reserved[8 + 48];
    uint32_t a[XTENSA_REGISTERS];
    uint32_t end;
} pr_status_t;

typedef struct {
    uint32_t index, value;
} special_register_t;

typedef struct {
    uint32_t crashed_task;
    special_register_t exccause, excvaddr, others[16];
    uint32_t isr_context;
} extra_info_t;

typedef struct {
    uint32_t version;
    char elf_sha256[66];
} __attribute__((packed)) info_t;

/* Static, because the panic handler may run at the end of a stack. */
static struct {
    header_t header;
    Elf32_Ehdr elf;
    Elf32_Phdr segments[3];
    uint8_t content[NOTES_MAX + RTC_MAX + CACHE_BYTES]; /* notes, then the variables */
} __attribute__((packed)) s_dump;
static uint32_t s_notes_used;

/* COREDUMP_RTC_DATA_ATTR; NULL if the program has no such variable. */
extern uint8_t __start_rtc_coredump[] __attribute__((weak));
extern uint8_t __stop_rtc_coredump[] __attribute__((weak));

/* The core dump partition; NULL until it is found. */
static uint8_t *s_partition;
static uint32_t s_partition_address;
static uint32_t s_partition_size;

static void add_note(const char *name, uint32_t type, const void *data, uint32_t length)
{
    uint32_t name_bytes = (uint32_t)strlen(name) + 1;
    uint32_t name_room = (name_bytes + 3) & ~3u;
    uint32_t room = sizeof(Elf32_Nhdr) + name_room + ((length + 3) & ~3u);
    if (room > NOTES_MAX - s_notes_used) {
        return;
    }
    uint8_t *at = s_dump.content + s_notes_used;
    const Elf32_Nhdr note = {.n_namesz = name_bytes, .n_descsz = length, .n_type = type};
    memcpy(at, &note, sizeof note);
    memcpy(at + sizeof note, name, name_bytes);
    memcpy(at + sizeof note + name_room, data, length);
    s_notes_used += room;
}

/* Offset of the content in the ELF. */
static uint32_t content_offset(void)
{
    return (uint32_t)offsetof(__typeof__(s_dump), content) - (uint32_t)sizeof(header_t);
}

static Elf32_Phdr note_segment(uint32_t start)
{
    uint32_t first = content_offset();
    uint32_t length = s_notes_used - start;
    return (Elf32_Phdr){.p_type = PT_NOTE,
                        .p_offset = first + start,
                        .p_filesz = length,
                        .p_memsz = length,
                        .p_flags = PF_R | PF_W};
}

/* Adds the variables after the notes. */
static Elf32_Phdr rtc_segment(void)
{
    size_t length = (size_t)(__stop_rtc_coredump - __start_rtc_coredump);
    length = length < RTC_MAX ? length : RTC_MAX;
    if (length > 0) {
        memcpy(s_dump.content + s_notes_used, __start_rtc_coredump, length);
    }
    return (Elf32_Phdr){.p_type = PT_LOAD,
                        .p_offset = content_offset() + s_notes_used,
                        .p_vaddr = RTC_ADDRESS,
                        .p_paddr = RTC_ADDRESS,
                        .p_filesz = (uint32_t)length,
                        .p_memsz = (uint32_t)length,
                        .p_flags = PF_R | PF_W};
}

static uint32_t current_tcb(void)
{
    native_task_t *task = native_scheduler_running() ? native_current() : NULL;
    return task != NULL ? (uint32_t)(uintptr_t)native_task_handle(task) : 0;
}

/* Builds header and ELF; returns their length. */
static uint32_t build(const native_crash_t *crash)
{
    memset(&s_dump, 0, sizeof s_dump);
    s_notes_used = 0;
    pr_status_t status = {.task = current_tcb(), .pc = native_code_offset(crash->pc)};
    status.a[1] = (uint32_t)crash->sp;
    add_note("CORE", NOTE_PR_STATUS, &status, sizeof status);
    s_dump.segments[0] = note_segment(0);

    uint32_t second = s_notes_used;
    info_t info = {.version = VERSION};
    strncpy(info.elf_sha256, esp_app_get_elf_sha256_str(), sizeof info.elf_sha256 - 1);
    add_note("ESP_CORE_DUMP_INFO", NOTE_INFO, &info, sizeof info);
    const extra_info_t extra = {
        .crashed_task = status.task,
        .exccause = {XTENSA_EXCCAUSE, crash->cause},
        .excvaddr = {XTENSA_EXCVADDR, (uint32_t)crash->address},
    };
    add_note("ESP_EXTRA_INFO", NOTE_EXTRA_INFO, &extra, sizeof extra);
    if (crash->details != NULL) {
        add_note("ESP_PANIC_DETAILS", NOTE_PANIC_DETAILS, crash->details, (uint32_t)strlen(crash->details));
    }
    s_dump.segments[1] = note_segment(second);
    s_dump.segments[2] = rtc_segment();
    bool has_variables = s_dump.segments[2].p_filesz > 0;

    s_dump.elf = (Elf32_Ehdr){
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_CORE,
        .e_machine = EM_XTENSA_,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf32_Ehdr),
        .e_ehsize = sizeof(Elf32_Ehdr),
        .e_phentsize = sizeof(Elf32_Phdr),
        .e_phnum = has_variables ? 3 : 2,
        .e_shentsize = sizeof(Elf32_Shdr),
    };
    return (uint32_t)offsetof(__typeof__(s_dump), content) + s_notes_used + s_dump.segments[2].p_filesz;
}

static void say(const char *tag, char level, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void say(const char *tag, char level, const char *format, ...)
{
    char text[160];
    int head = snprintf(text, sizeof text, "%c (%u) %s: ", level, (unsigned)(native_now_us() / 1000), tag);
    va_list arguments;
    va_start(arguments, format);
    int length = head + vsnprintf(text + head, sizeof text - (size_t)head - 2, format, arguments);
    va_end(arguments);
    memcpy(text + length, "\r\n", 2);
    native_host_write_raw(text, (size_t)length + 2);
}

static esp_err_t write_elf(const native_crash_t *crash)
{
    if (s_partition == NULL) {
        const uint32_t no_partition[3] = {0};
        say(TAG, 'E', "Core dump flash config is corrupted! CRC=0x%x instead of 0x0",
            (unsigned)esp_rom_crc32_le(0, (const uint8_t *)no_partition, sizeof no_partition));
        say(ELF_TAG, 'E', "Elf write init failed!");
        return ESP_FAIL;
    }
    uint32_t length = (build(crash) + CACHE_BYTES - 1) & ~(CACHE_BYTES - 1);
    s_dump.header = (header_t){
        .data_len = length + sizeof(uint32_t),
        .version = VERSION,
        .chip_rev = g_native_params.chip_revision,
    };
    uint32_t erased = (s_dump.header.data_len + SECTOR - 1) & ~(SECTOR - 1);
    if (erased > s_partition_size) {
        say(TAG, 'E', "Not enough space to save core dump!");
        say(ELF_TAG, 'E', "Failed to prepare core dump storage (%d)!", ESP_ERR_NO_MEM);
        return ESP_ERR_NO_MEM;
    }
    say(TAG, 'I', "Erase flash %u bytes @ 0x%x", (unsigned)erased, (unsigned)s_partition_address);
    memset(s_partition, 0xFF, erased);
    uint32_t crc = esp_rom_crc32_le(0, (const uint8_t *)&s_dump, length);
    memcpy(s_partition, &s_dump, length);
    memcpy(s_partition + length, &crc, sizeof crc);
    memset(s_partition + length + sizeof crc, 0, CACHE_BYTES - sizeof crc);
    say(TAG, 'I', "Write end offset 0x%x, check sum length %u", (unsigned)s_dump.header.data_len,
        (unsigned)sizeof crc);
    return ESP_OK;
}

void native_core_dump_save(const native_crash_t *crash)
{
    say(TAG, 'I', "Save core dump to flash...");
    esp_err_t err = write_elf(crash);
    if (err != ESP_OK) {
        say(COMMON_TAG, 'E', "Core dump write failed with error=%d", err);
    }
    say(TAG, 'I', "Core dump has been saved to flash."); // regardless of the result, as in ESP-IDF
}

/* ESP-IDF's checks at startup; returns the dump's length if it is valid, otherwise 0. */
static uint32_t check(const uint8_t *partition, uint32_t size)
{
    uint32_t length;
    memcpy(&length, partition, sizeof length);
    if (length == BLANK) {
        return 0;
    }
    if (length < sizeof length || length > size) {
        ESP_EARLY_LOGE(TAG, "Incorrect size of core dump image: %d", (int)length);
        return 0;
    }
    uint32_t stored;
    memcpy(&stored, partition + length - sizeof stored, sizeof stored);
    uint32_t calculated = esp_rom_crc32_le(0, partition, length - sizeof stored);
    if (stored != calculated) {
        ESP_EARLY_LOGE(TAG, "Core dump data check failed:");
        esp_rom_printf("Calculated checksum='%08x'\r\n", (unsigned)calculated);
        esp_rom_printf("Image checksum='%08x'\r\n", (unsigned)stored);
        return 0;
    }
    ESP_EARLY_LOGI(TAG, "Core dump data checksum is correct");
    return length;
}

void native_core_dump_init(void)
{
    char label[17];
    ESP_EARLY_LOGI(TAG, "Init core dump to flash");
    if (native_flash_find_data(ESP_PARTITION_SUBTYPE_DATA_COREDUMP, &s_partition_address, &s_partition_size,
                               label) &&
        s_partition_size >= sizeof(uint32_t)) {
        s_partition = native_flash_at(s_partition_address, s_partition_size);
    }
    if (s_partition == NULL) {
        ESP_EARLY_LOGE(TAG, "No core dump partition found!");
        ESP_EARLY_LOGE(TAG, "No core dump partition found!"); // logged again by the check
        return;
    }
    ESP_EARLY_LOGI(TAG, "Found partition '%s' @ %x %d bytes", label, (unsigned)s_partition_address,
                   (int)s_partition_size);
    uint32_t length = check(s_partition, s_partition_size);
    if (length > 0) {
        ESP_EARLY_LOGI(TAG, "Found core dump %d bytes in flash @ 0x%x", (int)length,
                       (unsigned)s_partition_address);
    }
}

#else

void native_core_dump_init(void)
{
}

void native_core_dump_save(const native_crash_t *crash)
{
    (void)crash;
}

#endif
