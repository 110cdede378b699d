/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The board's flash: a mapped file, so that written data survives no matter how this process ends.
 */
#include "chip/flash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "chip/host_io.h"
#include "chip/params.h"
#include "esp_flash.h"
#include "esp_heap_caps.h"
#include "esp_partition.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "heap/heap_caps_native.h"
#include "kernel/lock.h"
#include "kernel/object.h"
#include "kernel/run.h"

#define SECTOR 4096u
#define TABLE_OFFSET 0x8000u
#define TABLE_BYTES 0xC00u
#define ENTRY_BYTES 32u
#define ENTRY_MAGIC 0x50AAu
#define ENTRY_MD5 0xEBEBu
#define FLAG_ENCRYPTED 1u
#define FLAG_READONLY 2u
#define PARTITIONS_MAX (TABLE_BYTES / ENTRY_BYTES)
#define SIZE_PARTITION_ITEM 52 /* item of ESP-IDF's partition list on the chip */
#define SIZE_MMU_BLOCK 44      /* each end of the list of mapped pages, allocated at the first mapping */
#define SIZE_ITERATOR 20       /* iterator of a search in the partition list */
#define LIST_STARTUP "partition list" /* name of the profile's startup line that holds the list's items */
#define FLASH_ID 0x1640C8u

/* Approximate times of a common flash chip. During an erase, ESP-IDF yields to other tasks for one tick every
 * 20 ms. */
#define ERASE_SLICE_US 20000u
#define ERASE_SLICES 2
#define WRITE_CALL_US 30u
#define WRITE_BYTES_PER_MS 400u

struct esp_flash_t {
    uint8_t *bytes;
    uint32_t size;
};

static esp_flash_t s_chip;
esp_flash_t *esp_flash_default_chip = &s_chip;

static esp_partition_t s_partitions[PARTITIONS_MAX];
static size_t s_partition_count;
static bool s_loaded;
static native_lock_t s_list_lock;
static native_lock_t s_mmu_lock;

void native_flash_init(void)
{
    int fd = open(g_native_params.flash_file, O_RDWR | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size == 0 || info.st_size % SECTOR != 0) {
        fprintf(stderr, "native: flash_file %s: %s\n", g_native_params.flash_file,
                errno != 0 ? strerror(errno) : "its size must be a multiple of 4096");
        native_host_exit(2);
    }
    s_chip.size = (uint32_t)info.st_size;
    s_chip.bytes = mmap(NULL, s_chip.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (s_chip.bytes == MAP_FAILED) {
        fprintf(stderr, "native: flash_file %s: %s\n", g_native_params.flash_file, strerror(errno));
        native_host_exit(2);
    }
    close(fd);
}

static bool inside(uint32_t address, uint32_t length)
{
    return address <= s_chip.size && length <= s_chip.size - address;
}

esp_err_t esp_flash_get_size(esp_flash_t *chip, uint32_t *out_size)
{
    (void)chip;
    if (out_size == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    *out_size = s_chip.size;
    return ESP_OK;
}

esp_err_t esp_flash_read(esp_flash_t *chip, void *buffer, uint32_t address, uint32_t length)
{
    (void)chip;
    if (buffer == NULL || !inside(address, length)) {
        return ESP_ERR_INVALID_ARG;
    }
    memcpy(buffer, s_chip.bytes + address, length);
    return ESP_OK;
}

/* ESP-IDF checks whether flash pages are mapped before it changes them. The check takes a lock; the first use
 * of the lock allocates its memory. */
static void look_up_mapping(void)
{
    native_lock_acquire(&s_mmu_lock);
    native_lock_release(&s_mmu_lock);
}

esp_err_t esp_flash_write(esp_flash_t *chip, const void *buffer, uint32_t address, uint32_t length)
{
    (void)chip;
    if (buffer == NULL || !inside(address, length)) {
        return ESP_ERR_INVALID_ARG;
    }
    look_up_mapping();
    const uint8_t *bytes = buffer;
    for (uint32_t i = 0; i < length; i++) {
        s_chip.bytes[address + i] &= bytes[i];
    }
    native_consume_us(WRITE_CALL_US + length * 1000 / WRITE_BYTES_PER_MS);
    return ESP_OK;
}

esp_err_t esp_flash_erase_region(esp_flash_t *chip, uint32_t start, uint32_t len)
{
    (void)chip;
    if (start % SECTOR != 0 || len % SECTOR != 0 || !inside(start, len)) {
        return ESP_ERR_INVALID_ARG;
    }
    look_up_mapping();
    for (uint32_t offset = 0; offset < len; offset += SECTOR) {
        for (int slice = 0; slice < ERASE_SLICES; slice++) {
            native_consume_us(ERASE_SLICE_US);
            vTaskDelay(1);
        }
        memset(s_chip.bytes + start + offset, 0xFF, SECTOR);
    }
    return ESP_OK;
}

uint8_t *native_flash_at(uint32_t address, uint32_t length)
{
    return inside(address, length) ? s_chip.bytes + address : NULL;
}

/* --- Partitions --- */

static uint32_t word(const uint8_t *bytes)
{
    return bytes[0] | bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/*
 * Loads the partition list with ESP-IDF's allocations: two locks, the MMU's list ends, one item per
 * partition. None is freed. If core dumps go to flash, ESP-IDF loads the list before app_main, and the board
 * profile contains these blocks.
 */
static void load(void)
{
    bool charged = heap_system_boot_block(g_native_params.heap, LIST_STARTUP, 0) != 0;
    if (!charged) {
        native_lock_acquire(&s_list_lock);
        native_lock_acquire(&s_mmu_lock);
        heap_caps_calloc(1, SIZE_MMU_BLOCK, NATIVE_KERNEL_CAPS);
        heap_caps_calloc(1, SIZE_MMU_BLOCK, NATIVE_KERNEL_CAPS);
        native_lock_release(&s_mmu_lock);
    }
    for (uint32_t offset = 0; offset < TABLE_BYTES && inside(TABLE_OFFSET, TABLE_BYTES);
         offset += ENTRY_BYTES) {
        const uint8_t *entry = s_chip.bytes + TABLE_OFFSET + offset;
        uint32_t magic = word(entry) & 0xFFFF;
        if (magic == ENTRY_MD5) {
            continue;
        }
        if (magic != ENTRY_MAGIC || (!charged && heap_caps_calloc_default(1, SIZE_PARTITION_ITEM) == NULL)) {
            break;
        }
        uint32_t flags = word(entry + 28);
        esp_partition_t *partition = &s_partitions[s_partition_count++];
        *partition = (esp_partition_t){
            .flash_chip = &s_chip,
            .type = entry[2],
            .subtype = entry[3],
            .address = word(entry + 4),
            .size = word(entry + 8),
            .erase_size = SECTOR,
            .encrypted = (flags & FLAG_ENCRYPTED) != 0,
            .readonly = (flags & FLAG_READONLY) != 0,
        };
        memcpy(partition->label, entry + 12, 16);
    }
    s_loaded = true;
    if (!charged) {
        native_lock_release(&s_list_lock);
    }
}

const esp_partition_t *esp_partition_find_first(esp_partition_type_t type, esp_partition_subtype_t subtype,
                                                const char *label)
{
    if (!s_loaded) {
        load();
    }
    /* Until it is freed, the iterator occupies memory that the lock's allocation would otherwise get. */
    void *iterator = heap_caps_malloc_default(SIZE_ITERATOR);
    native_lock_acquire(&s_list_lock);
    native_lock_release(&s_list_lock);
    heap_caps_free(iterator);
    for (size_t i = 0; i < s_partition_count; i++) {
        const esp_partition_t *p = &s_partitions[i];
        if ((type == ESP_PARTITION_TYPE_ANY || p->type == type) &&
            (subtype == ESP_PARTITION_SUBTYPE_ANY || p->subtype == subtype) &&
            (label == NULL || strcmp(p->label, label) == 0)) {
            return p;
        }
    }
    return NULL;
}

static esp_err_t check_range(const esp_partition_t *partition, size_t offset, size_t size)
{
    if (partition == NULL || offset > partition->size) {
        return ESP_ERR_INVALID_ARG;
    }
    return size > partition->size - offset ? ESP_ERR_INVALID_SIZE : ESP_OK;
}

bool native_flash_find_data(uint8_t subtype, uint32_t *address, uint32_t *size, char label[17])
{
    for (uint32_t offset = 0; offset < TABLE_BYTES && inside(TABLE_OFFSET, TABLE_BYTES);
         offset += ENTRY_BYTES) {
        const uint8_t *entry = s_chip.bytes + TABLE_OFFSET + offset;
        if ((word(entry) & 0xFFFF) != ENTRY_MAGIC) {
            return false;
        }
        if (entry[2] == ESP_PARTITION_TYPE_DATA && entry[3] == subtype) {
            *address = word(entry + 4);
            *size = word(entry + 8);
            memcpy(label, entry + 12, 16);
            label[16] = '\0';
            return true;
        }
    }
    return false;
}

esp_err_t esp_partition_read(const esp_partition_t *partition, size_t src_offset, void *dst, size_t size)
{
    esp_err_t err = check_range(partition, src_offset, size);
    return err != ESP_OK
               ? err
               : esp_flash_read(NULL, dst, partition->address + (uint32_t)src_offset, (uint32_t)size);
}

esp_err_t esp_partition_write(const esp_partition_t *partition, size_t dst_offset, const void *src,
                              size_t size)
{
    esp_err_t err = check_range(partition, dst_offset, size);
    return err != ESP_OK
               ? err
               : esp_flash_write(NULL, src, partition->address + (uint32_t)dst_offset, (uint32_t)size);
}

esp_err_t esp_partition_erase_range(const esp_partition_t *partition, size_t offset, size_t size)
{
    esp_err_t err = check_range(partition, offset, size);
    if (err != ESP_OK) {
        return err;
    }
    if (offset % SECTOR != 0) {
        return ESP_ERR_INVALID_ARG;
    }
    if (size % SECTOR != 0) {
        return ESP_ERR_INVALID_SIZE;
    }
    return esp_flash_erase_region(NULL, partition->address + (uint32_t)offset, (uint32_t)size);
}
