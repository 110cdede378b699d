/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * NVS on the flash file's "nvs" partition, in ESP-IDF's page format (version 2), so that ESP-IDF's tools can
 * read and write this data. Memory is charged as for ESP-IDF's classes on the chip.
 *
 * A page has a header (32 bytes), entry states (2 bits each, 32 bytes), and 126 entries of 32 bytes. State
 * bits are only cleared: empty 11, written 10, erased 00.
 */
#include <string.h>
#include "esp_heap_caps.h"
#include "esp_partition.h"
#include "esp_rom_crc.h"
#include "heap/heap_caps_native.h"
#include "kernel/lock.h"
#include "kernel/object.h"
#include "nvs.h"
#include "nvs_flash.h"

#define PAGE_BYTES 4096u
#define TABLE_OFFSET 32u
#define DATA_OFFSET 64u
#define ENTRY_BYTES 32u
#define ENTRIES 126u
#define CHUNK_MAX (ENTRY_BYTES * (ENTRIES - 1))
#define VERSION 0xFEu
#define NO_ENTRY 0xFFFFFFFFu
#define CHUNK_ANY 0xFFu
#define NS_INDEX 0u /* namespace that contains the names of the namespaces */
#define BLOB_VERSION_0 0x00u
#define BLOB_VERSION_1 0x80u

/* Sizes of ESP-IDF's objects on the chip. */
#define SIZE_MANAGER 40
#define SIZE_PARTITION 16
#define SIZE_STORAGE 104
#define SIZE_PAGE 84
#define SIZE_ARRAY_HEAD 4
#define SIZE_HASH_BLOCK 128
#define HASH_NODES 29
#define SIZE_NAMESPACE 28
#define SIZE_BLOB_INDEX 40 /* one per blob while NVS starts */
#define SIZE_HANDLE 20     /* each of the two objects of a handle */
#define SIZE_SCAN 512      /* buffer for checking an empty page */

enum { TYPE_SZ = 0x21, TYPE_BLOB_DATA = 0x42, TYPE_BLOB_INDEX = 0x48, TYPE_ANY = 0xFF };
enum { ENTRY_ERASED = 0, ENTRY_INVALID = 1, ENTRY_WRITTEN = 2, ENTRY_EMPTY = 3 };

typedef enum {
    PAGE_UNINITIALIZED = 0xFFFFFFFF,
    PAGE_ACTIVE = 0xFFFFFFFE,
    PAGE_FULL = 0xFFFFFFFC,
    PAGE_FREEING = 0xFFFFFFF8,
    PAGE_CORRUPT = 0xFFFFFFF0,
} page_state_t;

typedef struct __attribute__((packed)) {
    uint32_t state;
    uint32_t sequence;
    uint8_t version;
    uint8_t reserved[19];
    uint32_t crc;
} header_t;

typedef struct __attribute__((packed)) {
    uint8_t ns;
    uint8_t type;
    uint8_t span;
    uint8_t chunk;
    uint32_t crc;
    char key[NVS_KEY_NAME_MAX_SIZE];
    union {
        uint8_t data[8];
        struct __attribute__((packed)) {
            uint16_t size;
            uint16_t reserved;
            uint32_t crc;
        } variable;
        struct __attribute__((packed)) {
            uint32_t size;
            uint8_t chunks;
            uint8_t start;
            uint16_t reserved;
        } index;
    };
} item_t;

_Static_assert(sizeof(header_t) == 32 && sizeof(item_t) == ENTRY_BYTES, "NVS format");

typedef struct hash_block hash_block_t;
struct hash_block {
    hash_block_t *next;
    void *charged;
    uint32_t count;
    uint8_t entry[HASH_NODES]; // 0xFF: removed
};

typedef struct page page_t;
struct page {
    page_t *next; // next in the list of used or free pages
    uint32_t base;
    page_state_t state;
    uint32_t sequence;
    uint32_t next_free;
    uint32_t used;
    hash_block_t *hashes;
};

typedef struct name name_t;
struct name {
    name_t *next;
    void *charged;
    char text[NVS_NS_NAME_MAX_SIZE];
    uint8_t index;
};

typedef struct handle handle_t;
struct handle {
    handle_t *next;
    void *charged[2];
    nvs_handle_t number;
    uint8_t ns;
    bool readonly;
};

static native_lock_t s_lock;
static void *s_manager;
static const esp_partition_t *s_partition; // NULL: not initialized
static void *s_charged[3];                 // partition object, storage, pages
static page_t *s_pages;
static uint32_t s_page_count;
static page_t *s_used; // ordered by sequence number; new entries are written to the last page
static page_t *s_free;
static uint32_t s_next_sequence;
static name_t *s_names;
static handle_t *s_handles;
static nvs_handle_t s_next_handle;

/* --- Pages --- */

static uint32_t entry_state(const page_t *page, uint32_t entry)
{
    uint8_t byte;
    esp_partition_read(s_partition, page->base + TABLE_OFFSET + entry / 4, &byte, 1);
    return byte >> entry % 4 * 2 & 3;
}

static esp_err_t set_entry_states(page_t *page, uint32_t first, uint32_t count, uint32_t state)
{
    uint32_t words[8];
    uint32_t address = page->base + TABLE_OFFSET;
    esp_partition_read(s_partition, address, words, sizeof words);
    for (uint32_t entry = first; entry < first + count; entry++) {
        words[entry / 16] &= ~(3u << entry % 16 * 2) | state << entry % 16 * 2;
    }
    for (uint32_t word = (first + count - 1) / 16 + 1;
         word-- > first / 16;) { // last word first, as in ESP-IDF
        esp_err_t err = esp_partition_write(s_partition, address + 4 * word, &words[word], 4);
        if (err != ESP_OK) {
            return err;
        }
    }
    return ESP_OK;
}

static void read_entry(const page_t *page, uint32_t entry, void *data)
{
    esp_partition_read(s_partition, page->base + DATA_OFFSET + entry * ENTRY_BYTES, data, ENTRY_BYTES);
}

static uint32_t item_crc(const item_t *item)
{
    const uint8_t *bytes = (const uint8_t *)item;
    uint32_t crc = esp_rom_crc32_le(0xFFFFFFFF, bytes, offsetof(item_t, crc));
    crc = esp_rom_crc32_le(crc, bytes + offsetof(item_t, key), sizeof item->key);
    return esp_rom_crc32_le(crc, bytes + offsetof(item_t, data), sizeof item->data);
}

static bool is_variable(uint8_t type)
{
    return type == TYPE_SZ || type == TYPE_BLOB_DATA || type == 0x41;
}

static bool item_is_sound(const item_t *item, uint32_t entry)
{
    if (item->crc != item_crc(item)) {
        return false;
    }
    uint32_t span = is_variable(item->type) ? 1 + (item->variable.size + ENTRY_BYTES - 1) / ENTRY_BYTES : 1;
    return item->span == span && entry + span <= ENTRIES;
}

static esp_err_t hash_insert(page_t *page, uint32_t entry)
{
    hash_block_t **link = &page->hashes;
    while (*link != NULL && ((*link)->next != NULL || (*link)->count == HASH_NODES)) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        void *charged = heap_caps_malloc_default(SIZE_HASH_BLOCK);
        if (charged == NULL) {
            return ESP_ERR_NO_MEM;
        }
        *link = native_host_alloc(sizeof **link);
        (*link)->charged = charged;
    }
    (*link)->entry[(*link)->count++] = (uint8_t)entry;
    return ESP_OK;
}

static void hash_block_free(hash_block_t **link)
{
    hash_block_t *block = *link;
    *link = block->next;
    heap_caps_free(block->charged);
    native_host_free(block);
}

static void hash_erase(page_t *page, uint32_t entry)
{
    for (hash_block_t **link = &page->hashes; *link != NULL; link = &(*link)->next) {
        bool found = false;
        bool others = false;
        for (uint32_t i = 0; i < (*link)->count; i++) {
            found |= (*link)->entry[i] == entry;
            if ((*link)->entry[i] == entry) {
                (*link)->entry[i] = 0xFF;
            }
            others |= (*link)->entry[i] != 0xFF;
        }
        if (found) {
            if (!others) {
                hash_block_free(link);
            }
            return;
        }
    }
}

static esp_err_t erase_entry(page_t *page, uint32_t entry)
{
    item_t item;
    read_entry(page, entry, &item);
    uint32_t span = 1;
    if (entry_state(page, entry) == ENTRY_WRITTEN) {
        hash_erase(page, entry);
        span = item_is_sound(&item, entry) ? item.span : 1;
        for (uint32_t i = entry; i < entry + span; i++) {
            page->used -= entry_state(page, i) == ENTRY_WRITTEN ? 1 : 0;
        }
    }
    if (page->next_free < entry + span) {
        page->next_free = entry + span;
    }
    return set_entry_states(page, entry, span, ENTRY_ERASED);
}

/*
 * Finds the next item at or after *entry with this namespace, type and key; each may be "any" (0xFF,
 * TYPE_ANY, NULL). chunk: number of a chunk, or CHUNK_ANY for items that are not chunks. Skips data entries;
 * erases damaged entries.
 */
static bool find_in_page(page_t *page, uint32_t *entry, uint8_t ns, uint8_t type, const char *key,
                         uint8_t chunk, item_t *item)
{
    if (page->state != PAGE_ACTIVE && page->state != PAGE_FULL && page->state != PAGE_FREEING) {
        return false;
    }
    uint32_t next;
    for (uint32_t i = *entry; i < page->next_free && i < ENTRIES; i = next) {
        next = i + 1;
        if (entry_state(page, i) != ENTRY_WRITTEN) {
            continue;
        }
        read_entry(page, i, item);
        if (!item_is_sound(item, i)) {
            erase_entry(page, i);
            continue;
        }
        next = i + item->span;
        if ((ns == 0xFF || item->ns == ns) && (type == TYPE_ANY || item->type == type) &&
            (key == NULL || strncmp(item->key, key, sizeof item->key - 1) == 0) &&
            (key == NULL || item->chunk == chunk)) {
            *entry = i;
            return true;
        }
    }
    return false;
}

static page_t *find(uint8_t ns, uint8_t type, const char *key, uint8_t chunk, item_t *item, uint32_t *entry)
{
    for (page_t *page = s_used; page != NULL; page = page->next) {
        *entry = 0;
        if (find_in_page(page, entry, ns, type, key, chunk, item)) {
            return page;
        }
    }
    return NULL;
}

static esp_err_t page_initialize(page_t *page)
{
    header_t header = {.state = PAGE_ACTIVE, .sequence = page->sequence, .version = VERSION};
    memset(header.reserved, 0xFF, sizeof header.reserved);
    header.crc = esp_rom_crc32_le(0xFFFFFFFF, (const uint8_t *)&header + 4, offsetof(header_t, crc) - 4);
    page->state = PAGE_ACTIVE;
    page->next_free = 0;
    return esp_partition_write(s_partition, page->base, &header, sizeof header);
}

static esp_err_t page_set_state(page_t *page, page_state_t state)
{
    uint32_t word = state;
    page->state = state;
    return esp_partition_write(s_partition, page->base, &word, sizeof word);
}

static esp_err_t page_erase(page_t *page)
{
    page->state = PAGE_UNINITIALIZED;
    page->used = 0;
    page->next_free = 0;
    while (page->hashes != NULL) {
        hash_block_free(&page->hashes);
    }
    return esp_partition_erase_range(s_partition, page->base, PAGE_BYTES);
}

static esp_err_t append(page_t *page, const void *data, uint32_t entries)
{
    esp_err_t err = esp_partition_write(s_partition, page->base + DATA_OFFSET + page->next_free * ENTRY_BYTES,
                                        data, entries * ENTRY_BYTES);
    if (err == ESP_OK) {
        err = set_entry_states(page, page->next_free, entries, ENTRY_WRITTEN);
    }
    page->next_free += entries;
    page->used += entries;
    return err;
}

static esp_err_t page_write(page_t *page, uint8_t ns, uint8_t type, const char *key, const void *data,
                            size_t size, uint8_t chunk)
{
    if (page->state == PAGE_UNINITIALIZED) {
        esp_err_t err = page_initialize(page);
        if (err != ESP_OK) {
            return err;
        }
    }
    if (page->state == PAGE_FULL) {
        return ESP_ERR_NVS_PAGE_FULL;
    }
    if (strlen(key) >= NVS_KEY_NAME_MAX_SIZE) {
        return ESP_ERR_NVS_KEY_TOO_LONG;
    }
    if (size > CHUNK_MAX) {
        return ESP_ERR_NVS_VALUE_TOO_LONG;
    }
    bool variable = is_variable(type);
    uint32_t span = variable ? 1 + (uint32_t)((size + ENTRY_BYTES - 1) / ENTRY_BYTES) : 1;
    if (page->next_free + span > ENTRIES) {
        return ESP_ERR_NVS_PAGE_FULL;
    }
    item_t item = {.ns = ns, .type = type, .span = (uint8_t)span, .chunk = chunk};
    memset(item.data, 0xFF, sizeof item.data);
    memset(item.key, 0, sizeof item.key); // ESP-IDF's strncpy pads with zeros
    memcpy(item.key, key, strlen(key));
    if (variable) {
        item.variable.size = (uint16_t)size;
        item.variable.crc = esp_rom_crc32_le(0xFFFFFFFF, data, (uint32_t)size);
    } else {
        memcpy(item.data, data, size);
    }
    item.crc = item_crc(&item);
    esp_err_t err = hash_insert(page, page->next_free);
    if (err == ESP_OK) {
        err = append(page, &item, 1);
    }
    size_t whole = variable ? size / ENTRY_BYTES : 0;
    if (err == ESP_OK && whole > 0) {
        err = append(page, data, (uint32_t)whole);
    }
    if (err == ESP_OK && variable && size % ENTRY_BYTES > 0) {
        uint8_t tail[ENTRY_BYTES];
        memset(tail, 0xFF, sizeof tail);
        memcpy(tail, (const uint8_t *)data + whole * ENTRY_BYTES, size % ENTRY_BYTES);
        err = append(page, tail, 1);
    }
    return err;
}

/* --- The set of pages --- */

static page_t *last_used(void)
{
    page_t *page = s_used;
    while (page->next != NULL) {
        page = page->next;
    }
    return page;
}

static void list_append(page_t **list, page_t *page)
{
    while (*list != NULL) {
        list = &(*list)->next;
    }
    page->next = NULL;
    *list = page;
}

static void list_remove(page_t **list, page_t *page)
{
    while (*list != page) {
        list = &(*list)->next;
    }
    *list = page->next;
}

static esp_err_t activate_page(void)
{
    page_t *page = s_free;
    if (page == NULL) {
        return ESP_ERR_NVS_NOT_ENOUGH_SPACE;
    }
    if (page->state == PAGE_CORRUPT) {
        esp_err_t err = page_erase(page);
        if (err != ESP_OK) {
            return err;
        }
    }
    s_free = page->next;
    list_append(&s_used, page);
    page->sequence = s_next_sequence++;
    return ESP_OK;
}

static esp_err_t copy_items(page_t *from, page_t *to)
{
    item_t item;
    for (uint32_t entry = 0; find_in_page(from, &entry, 0xFF, TYPE_ANY, NULL, 0, &item); entry += item.span) {
        if (to->state == PAGE_UNINITIALIZED) {
            esp_err_t err = page_initialize(to);
            if (err != ESP_OK) {
                return err;
            }
        }
        esp_err_t err = hash_insert(to, to->next_free);
        for (uint32_t i = 0; err == ESP_OK && i < item.span; i++) {
            uint8_t data[ENTRY_BYTES];
            read_entry(from, entry + i, data);
            err = append(to, data, 1);
        }
        if (err != ESP_OK) {
            return err;
        }
    }
    return ESP_OK;
}

/* Moves the valid items of a page to an empty one and erases the page. */
static esp_err_t reclaim(page_t *page)
{
    esp_err_t err = activate_page();
    if (err == ESP_OK) {
        err = copy_items(page, last_used());
    }
    if (err == ESP_OK) {
        err = page_erase(page);
    }
    if (err == ESP_OK) {
        list_remove(&s_used, page);
        list_append(&s_free, page);
    }
    return err;
}

static esp_err_t request_new_page(void)
{
    if (s_free == NULL) {
        return ESP_ERR_NVS_INVALID_STATE;
    }
    if (s_free->next != NULL) {
        return activate_page();
    }
    page_t *fewest = NULL;
    for (page_t *page = s_used; page != NULL; page = page->next) {
        if (page->used < (fewest == NULL ? ENTRIES : fewest->used)) {
            fewest = page;
        }
    }
    if (fewest == NULL) {
        return ESP_ERR_NVS_NOT_ENOUGH_SPACE;
    }
    esp_err_t err = page_set_state(fewest, PAGE_FREEING);
    return err == ESP_OK ? reclaim(fewest) : err;
}

static esp_err_t new_page_for(page_t *full)
{
    esp_err_t err = full->state == PAGE_FULL ? ESP_OK : page_set_state(full, PAGE_FULL);
    return err == ESP_OK ? request_new_page() : err;
}

/* --- Loading --- */

static bool page_is_blank(const page_t *page)
{
    void *charged = heap_caps_malloc_default(SIZE_SCAN);
    uint8_t bytes[PAGE_BYTES];
    esp_partition_read(s_partition, page->base, bytes, sizeof bytes);
    heap_caps_free(charged);
    for (uint32_t i = 0; i < PAGE_BYTES; i++) {
        if (bytes[i] != 0xFF) {
            return false;
        }
    }
    return true;
}

static bool entry_is_blank(const page_t *page, uint32_t entry)
{
    uint8_t data[ENTRY_BYTES];
    read_entry(page, entry, data);
    for (uint32_t i = 0; i < ENTRY_BYTES; i++) {
        if (data[i] != 0xFF) {
            return false;
        }
    }
    return true;
}

/* Loads entries and the hash list, and completes writes that a power cut interrupted. */
static esp_err_t load_entries(page_t *page)
{
    page->next_free = page->state == PAGE_ACTIVE ? 0 : ENTRIES;
    for (uint32_t entry = 0; entry < ENTRIES; entry++) {
        uint32_t state = entry_state(page, entry);
        page->used += state == ENTRY_WRITTEN ? 1 : 0;
        if (page->state == PAGE_ACTIVE && state != ENTRY_EMPTY) {
            page->next_free = entry + 1;
        }
    }
    while (page->state == PAGE_ACTIVE && page->next_free < ENTRIES &&
           !entry_is_blank(page, page->next_free)) {
        esp_err_t err = set_entry_states(page, page->next_free++, 1, ENTRY_ERASED);
        if (err != ESP_OK) {
            return err;
        }
    }
    item_t item;
    for (uint32_t entry = 0; find_in_page(page, &entry, 0xFF, TYPE_ANY, NULL, 0, &item); entry += item.span) {
        esp_err_t err = hash_insert(page, entry);
        if (err != ESP_OK) {
            return err;
        }
        bool whole = true;
        for (uint32_t i = entry; i < entry + item.span; i++) {
            whole = whole && entry_state(page, i) == ENTRY_WRITTEN;
        }
        item_t older;
        uint32_t at = 0;
        if (!whole) {
            erase_entry(page, entry);
        } else if (find_in_page(page, &at, item.ns, TYPE_ANY, item.key, item.chunk, &older) && at < entry) {
            erase_entry(page, at); // old version of a rewritten entry, not erased before a power cut
        }
    }
    return ESP_OK;
}

static esp_err_t load_page(page_t *page)
{
    header_t header;
    esp_partition_read(s_partition, page->base, &header, sizeof header);
    if (header.state == PAGE_UNINITIALIZED) {
        page->state = page_is_blank(page) ? PAGE_UNINITIALIZED : PAGE_CORRUPT;
        return ESP_OK;
    }
    if (header.crc !=
            esp_rom_crc32_le(0xFFFFFFFF, (const uint8_t *)&header + 4, offsetof(header_t, crc) - 4) ||
        (header.state != PAGE_ACTIVE && header.state != PAGE_FULL && header.state != PAGE_FREEING)) {
        page->state = PAGE_CORRUPT;
        return ESP_OK;
    }
    if (header.version < VERSION) {
        return ESP_ERR_NVS_NEW_VERSION_FOUND;
    }
    page->state = header.state;
    page->sequence = header.sequence;
    return load_entries(page);
}

static void insert_used(page_t *page)
{
    page_t **link = &s_used;
    while (*link != NULL && (*link)->sequence <= page->sequence) {
        link = &(*link)->next;
    }
    page->next = *link;
    *link = page;
}

/* Erases the older version of the newest item, which may be on another page. */
static void erase_double_of_last(void)
{
    page_t *last = last_used();
    item_t item;
    item_t newest = {0};
    bool any = false;
    for (uint32_t entry = 0; find_in_page(last, &entry, 0xFF, TYPE_ANY, NULL, 0, &item); entry += item.span) {
        newest = item;
        any = true;
    }
    for (page_t *page = s_used; any && page != last; page = page->next) {
        uint32_t entry = 0;
        if (page->state != PAGE_FREEING &&
            find_in_page(page, &entry, newest.ns, newest.type, newest.key, newest.chunk, &item)) {
            erase_entry(page, entry);
            return;
        }
    }
}

static esp_err_t load_pages(void)
{
    for (uint32_t i = 0; i < s_page_count; i++) {
        page_t *page = &s_pages[i];
        page->base = i * PAGE_BYTES;
        esp_err_t err = load_page(page);
        if (err != ESP_OK) {
            return err;
        }
        if (page->state == PAGE_UNINITIALIZED || page->state == PAGE_CORRUPT) {
            list_append(&s_free, page);
        } else {
            insert_used(page);
        }
    }
    if (s_used == NULL) {
        s_next_sequence = 0;
        return activate_page();
    }
    s_next_sequence = last_used()->sequence + 1;
    erase_double_of_last();
    for (page_t *page = s_used; page != NULL; page = page->next) {
        if (page->state != PAGE_FREEING) {
            continue;
        }
        page_t *last = last_used();
        if (last != page && last->state == PAGE_ACTIVE) { // the copy to it was in progress
            esp_err_t err = page_erase(last);
            if (err != ESP_OK) {
                return err;
            }
            list_remove(&s_used, last);
            list_append(&s_free, last);
        }
        esp_err_t err = reclaim(page);
        if (err != ESP_OK) {
            return err;
        }
        break;
    }
    return s_free == NULL ? ESP_ERR_NVS_NO_FREE_PAGES : ESP_OK;
}

static esp_err_t add_name(const char *text, uint8_t index)
{
    void *charged = heap_caps_malloc_default(SIZE_NAMESPACE);
    if (charged == NULL) {
        return ESP_ERR_NO_MEM;
    }
    name_t *name = native_host_alloc(sizeof *name);
    name->charged = charged;
    name->index = index;
    memcpy(name->text, text, strnlen(text, sizeof name->text - 1));
    name_t **link = &s_names;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = name;
    return ESP_OK;
}

static esp_err_t load_names(void)
{
    for (page_t *page = s_used; page != NULL; page = page->next) {
        item_t item;
        for (uint32_t entry = 0; find_in_page(page, &entry, NS_INDEX, NVS_TYPE_U8, NULL, 0, &item);
             entry += item.span) {
            esp_err_t err = add_name(item.key, item.data[0]);
            if (err != ESP_OK) {
                return err;
            }
        }
    }
    return ESP_OK;
}

/* --- Remains of blobs, after a power cut --- */

typedef struct blob_index blob_index_t;
struct blob_index {
    blob_index_t *next;
    void *charged;
    item_t item;
    uint32_t size; // of the chunks found
    uint32_t chunks;
};

static void free_indexes(blob_index_t *indexes)
{
    while (indexes != NULL) {
        blob_index_t *index = indexes;
        indexes = index->next;
        heap_caps_free(index->charged);
        native_host_free(index);
    }
}

static esp_err_t list_indexes(blob_index_t **indexes)
{
    blob_index_t **link = indexes;
    item_t item;
    for (page_t *page = s_used; page != NULL; page = page->next) {
        for (uint32_t entry = 0; find_in_page(page, &entry, 0xFF, TYPE_BLOB_INDEX, NULL, CHUNK_ANY, &item);
             entry += item.span) {
            void *charged = heap_caps_malloc_default(SIZE_BLOB_INDEX);
            if (charged == NULL) {
                return ESP_ERR_NO_MEM;
            }
            *link = native_host_alloc(sizeof **link);
            **link = (blob_index_t){.charged = charged, .item = item};
            link = &(*link)->next;
        }
    }
    return ESP_OK;
}

/* The index that lists this chunk: same blob, same version. NULL if there is none. */
static blob_index_t *index_of(blob_index_t *indexes, const item_t *chunk)
{
    for (; indexes != NULL; indexes = indexes->next) {
        const item_t *index = &indexes->item;
        if (index->ns == chunk->ns && strncmp(index->key, chunk->key, sizeof chunk->key) == 0 &&
            (index->index.start & BLOB_VERSION_1) == (chunk->chunk & BLOB_VERSION_1)) {
            return indexes;
        }
    }
    return NULL;
}

/* Erases indexes whose chunks are incomplete, then chunks without an index, as ESP-IDF does. */
static esp_err_t erase_remains(void)
{
    blob_index_t *indexes = NULL;
    esp_err_t err = list_indexes(&indexes);
    item_t item;
    for (page_t *page = s_used; page != NULL && err == ESP_OK; page = page->next) {
        for (uint32_t entry = 0; find_in_page(page, &entry, 0xFF, TYPE_BLOB_DATA, NULL, CHUNK_ANY, &item);
             entry += item.span) {
            blob_index_t *index = index_of(indexes, &item);
            if (index != NULL) {
                index->size += item.variable.size;
                index->chunks++;
            }
        }
    }
    for (blob_index_t *index = indexes; index != NULL && err == ESP_OK; index = index->next) {
        uint32_t entry = 0;
        page_t *page = s_used;
        if (index->size == index->item.index.size && index->chunks == index->item.index.chunks) {
            continue;
        }
        for (; page != NULL; page = page->next, entry = 0) {
            if (find_in_page(page, &entry, index->item.ns, TYPE_BLOB_INDEX, index->item.key, CHUNK_ANY,
                             &item) &&
                item.index.start == index->item.index.start) {
                erase_entry(page, entry);
                break;
            }
        }
        index->item.ns = NS_INDEX; // contains no blobs, so that index_of() no longer finds this index
    }
    for (page_t *page = s_used; page != NULL && err == ESP_OK; page = page->next) {
        for (uint32_t entry = 0; find_in_page(page, &entry, 0xFF, TYPE_BLOB_DATA, NULL, CHUNK_ANY, &item);
             entry += item.span) {
            const blob_index_t *index = index_of(indexes, &item);
            if (index == NULL || item.chunk >= index->item.index.start + index->item.index.chunks) {
                erase_entry(page, entry);
            }
        }
    }
    free_indexes(indexes);
    return err;
}

/* --- Init and deinit --- */

static void close_handle(handle_t **link)
{
    handle_t *handle = *link;
    *link = handle->next;
    heap_caps_free(handle->charged[0]);
    heap_caps_free(handle->charged[1]);
    native_host_free(handle);
}

static void unload(void)
{
    while (s_handles != NULL) {
        close_handle(&s_handles);
    }
    while (s_names != NULL) {
        name_t *name = s_names;
        s_names = name->next;
        heap_caps_free(name->charged);
        native_host_free(name);
    }
    for (uint32_t i = 0; i < s_page_count; i++) {
        while (s_pages[i].hashes != NULL) {
            hash_block_free(&s_pages[i].hashes);
        }
    }
    native_host_free(s_pages);
    s_pages = NULL;
    s_page_count = 0;
    s_used = NULL;
    s_free = NULL;
    for (int i = 2; i >= 0; i--) {
        heap_caps_free(s_charged[i]);
        s_charged[i] = NULL;
    }
    s_partition = NULL;
}

static esp_err_t init(void)
{
    if (s_manager == NULL) {
        s_manager = heap_caps_malloc_default(SIZE_MANAGER);
    }
    if (s_partition != NULL) {
        return ESP_OK;
    }
    const esp_partition_t *partition = esp_partition_find_first(
        ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_NVS, NVS_DEFAULT_PART_NAME);
    if (partition == NULL) {
        return ESP_ERR_NOT_FOUND;
    }
    s_partition = partition;
    s_page_count = partition->size / PAGE_BYTES;
    s_pages = native_host_alloc(s_page_count * sizeof *s_pages);
    const size_t sizes[] = {SIZE_PARTITION, SIZE_STORAGE, s_page_count * SIZE_PAGE + SIZE_ARRAY_HEAD};
    esp_err_t err = ESP_OK;
    for (int i = 0; i < 3 && err == ESP_OK; i++) {
        s_charged[i] = heap_caps_malloc_default(sizes[i]);
        err = s_charged[i] == NULL ? ESP_ERR_NO_MEM : ESP_OK;
    }
    if (err == ESP_OK) {
        err = load_pages();
    }
    if (err == ESP_OK) {
        err = load_names();
    }
    if (err == ESP_OK) {
        err = erase_remains();
    }
    if (err != ESP_OK) {
        unload();
    }
    return err;
}

esp_err_t nvs_flash_init(void)
{
    native_lock_acquire(&s_lock);
    esp_err_t err = init();
    native_lock_release(&s_lock);
    return err;
}

esp_err_t nvs_flash_deinit(void)
{
    native_lock_acquire(&s_lock);
    esp_err_t err = ESP_ERR_NVS_NOT_INITIALIZED;
    if (s_partition != NULL) {
        unload();
        err = ESP_OK;
    }
    native_lock_release(&s_lock);
    return err;
}

esp_err_t nvs_flash_erase(void)
{
    native_lock_acquire(&s_lock);
    if (s_partition != NULL) {
        unload();
    }
    const esp_partition_t *partition = esp_partition_find_first(
        ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_NVS, NVS_DEFAULT_PART_NAME);
    esp_err_t err =
        partition == NULL ? ESP_ERR_NOT_FOUND : esp_partition_erase_range(partition, 0, partition->size);
    native_lock_release(&s_lock);
    return err;
}

/* --- Values --- */

static esp_err_t erase_blob(uint8_t ns, const char *key, const item_t *index)
{
    item_t item;
    uint32_t entry;
    for (uint32_t i = 0; i < index->index.chunks; i++) {
        page_t *page = find(ns, TYPE_BLOB_DATA, key, (uint8_t)(index->index.start + i), &item, &entry);
        if (page != NULL) {
            esp_err_t err = erase_entry(page, entry);
            if (err != ESP_OK) {
                return err;
            }
        }
    }
    return ESP_OK;
}

static esp_err_t read_data(const page_t *page, uint32_t entry, const item_t *item, void *out)
{
    esp_partition_read(s_partition, page->base + DATA_OFFSET + (entry + 1) * ENTRY_BYTES, out,
                       item->variable.size);
    return esp_rom_crc32_le(0xFFFFFFFF, out, item->variable.size) == item->variable.crc
               ? ESP_OK
               : ESP_ERR_NVS_NOT_FOUND;
}

static esp_err_t read_blob(uint8_t ns, const char *key, const item_t *index, uint8_t *out)
{
    for (uint32_t i = 0, at = 0; i < index->index.chunks; i++) {
        item_t item;
        uint32_t entry;
        page_t *page = find(ns, TYPE_BLOB_DATA, key, (uint8_t)(index->index.start + i), &item, &entry);
        if (page == NULL || item.variable.size > index->index.size - at) {
            return ESP_ERR_NVS_NOT_FOUND;
        }
        esp_err_t err = read_data(page, entry, &item, out + at);
        if (err != ESP_OK) {
            return err;
        }
        at += item.variable.size;
    }
    return ESP_OK;
}

static uint32_t tailroom(const page_t *page)
{
    if (page->state == PAGE_UNINITIALIZED) {
        return CHUNK_MAX;
    }
    return page->state == PAGE_FULL || page->next_free >= ENTRIES - 1
               ? 0
               : (ENTRIES - page->next_free - 1) * ENTRY_BYTES;
}

static esp_err_t write_blob(uint8_t ns, const char *key, const uint8_t *data, size_t size, uint8_t start)
{
    if (size > (s_page_count - 1) * (size_t)CHUNK_MAX) {
        return ESP_ERR_NVS_VALUE_TOO_LONG;
    }
    item_t index = {.index = {.size = (uint32_t)size, .start = start, .reserved = 0xFFFF}};
    size_t at = 0;
    do {
        page_t *page = last_used();
        uint32_t room = tailroom(page);
        if (index.index.chunks == 0 && (room < size || (room == 0 && size == 0)) && room < CHUNK_MAX / 10) {
            esp_err_t err = new_page_for(page);
            if (err != ESP_OK) {
                return err;
            }
            if (tailroom(last_used()) == room) {
                return ESP_ERR_NVS_NOT_ENOUGH_SPACE;
            }
            continue;
        }
        if (room == 0) {
            erase_blob(ns, key, &index);
            return ESP_ERR_NVS_NOT_ENOUGH_SPACE;
        }
        size_t part = size - at < room ? size - at : room;
        esp_err_t err =
            page_write(page, ns, TYPE_BLOB_DATA, key, data + at, part, (uint8_t)(start + index.index.chunks));
        index.index.chunks++;
        at += part;
        if (err == ESP_OK && (at < size || room - part < ENTRY_BYTES)) {
            err = new_page_for(page);
        }
        if (err != ESP_OK) {
            erase_blob(ns, key, &index);
            return err;
        }
    } while (at < size || index.index.chunks == 0);
    return page_write(last_used(), ns, TYPE_BLOB_INDEX, key, index.data, sizeof index.data, CHUNK_ANY);
}

static bool unchanged(page_t *page, uint32_t entry, const item_t *item, uint8_t type, const void *data,
                      size_t size)
{
    if (item->type != type) {
        return false;
    }
    if (type == TYPE_BLOB_INDEX ? item->index.size != size
                                : is_variable(type) && item->variable.size != size) {
        return false;
    }
    if (type != TYPE_BLOB_INDEX && !is_variable(type)) {
        return memcmp(item->data, data, size) == 0;
    }
    uint8_t *stored = native_host_alloc(size + 1);
    esp_err_t err = type == TYPE_BLOB_INDEX ? read_blob(item->ns, item->key, item, stored)
                                            : read_data(page, entry, item, stored);
    bool same = err == ESP_OK && memcmp(stored, data, size) == 0;
    native_host_free(stored);
    return same;
}

/* type: TYPE_BLOB_INDEX for a blob. An unchanged value is not written again. */
static esp_err_t write_value(uint8_t ns, uint8_t type, const char *key, const void *data, size_t size)
{
    item_t old;
    uint32_t entry;
    page_t *page = find(ns, TYPE_ANY, key, CHUNK_ANY, &old, &entry);
    bool had = page != NULL;
    if (had && unchanged(page, entry, &old, type, data, size)) {
        return ESP_OK;
    }
    esp_err_t err;
    if (type == TYPE_BLOB_INDEX) {
        bool was_0 = had && old.type == TYPE_BLOB_INDEX && old.index.start == BLOB_VERSION_0;
        err = write_blob(ns, key, data, size, was_0 ? BLOB_VERSION_1 : BLOB_VERSION_0);
    } else {
        err = page_write(last_used(), ns, type, key, data, size, CHUNK_ANY);
        if (err == ESP_ERR_NVS_PAGE_FULL) {
            err = new_page_for(last_used());
            if (err == ESP_OK) {
                err = page_write(last_used(), ns, type, key, data, size, CHUNK_ANY);
            }
        }
    }
    if (err == ESP_ERR_NVS_PAGE_FULL) {
        return ESP_ERR_NVS_NOT_ENOUGH_SPACE;
    }
    if (err != ESP_OK || !had) {
        return err;
    }
    page = find(ns, old.type, key, CHUNK_ANY, &old, &entry); // the older version, which may have moved
    if (page != NULL) {
        if (old.type == TYPE_BLOB_INDEX) {
            erase_blob(ns, key, &old);
        }
        err = erase_entry(page, entry);
    }
    return err;
}

static handle_t **find_handle(nvs_handle_t number)
{
    handle_t **link = &s_handles;
    while (*link != NULL && (*link)->number != number) {
        link = &(*link)->next;
    }
    return link;
}

static esp_err_t open_namespace(const char *text, bool create, uint8_t *index)
{
    bool taken[256] = {[0] = true, [255] = true};
    for (name_t *name = s_names; name != NULL; name = name->next) {
        taken[name->index] = true;
        if (strncmp(name->text, text, sizeof name->text - 1) == 0) {
            *index = name->index;
            return ESP_OK;
        }
    }
    if (!create) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    int free_index = 1;
    while (free_index < 255 && taken[free_index]) {
        free_index++;
    }
    if (free_index == 255) {
        return ESP_ERR_NVS_NOT_ENOUGH_SPACE;
    }
    *index = (uint8_t)free_index;
    esp_err_t err = write_value(NS_INDEX, NVS_TYPE_U8, text, index, 1);
    return err == ESP_OK ? add_name(text, *index) : err;
}

static esp_err_t open_handle(const char *namespace_name, nvs_open_mode_t open_mode, nvs_handle_t *out_handle)
{
    if (s_partition == NULL) {
        return ESP_ERR_NVS_NOT_INITIALIZED;
    }
    uint8_t ns;
    esp_err_t err = open_namespace(namespace_name, open_mode == NVS_READWRITE, &ns);
    if (err != ESP_OK) {
        return err;
    }
    void *charged[2];
    charged[0] = heap_caps_malloc_default(SIZE_HANDLE);
    charged[1] = charged[0] == NULL ? NULL : heap_caps_malloc_default(SIZE_HANDLE);
    if (charged[1] == NULL) {
        heap_caps_free(charged[0]);
        return ESP_ERR_NO_MEM;
    }
    handle_t *handle = native_host_alloc(sizeof *handle);
    *handle = (handle_t){
        .next = s_handles,
        .charged = {charged[0], charged[1]},
        .number = ++s_next_handle,
        .ns = ns,
        .readonly = open_mode == NVS_READONLY,
    };
    s_handles = handle;
    *out_handle = handle->number;
    return ESP_OK;
}

esp_err_t nvs_open(const char *namespace_name, nvs_open_mode_t open_mode, nvs_handle_t *out_handle)
{
    native_lock_acquire(&s_lock);
    esp_err_t err = open_handle(namespace_name, open_mode, out_handle);
    native_lock_release(&s_lock);
    return err;
}

void nvs_close(nvs_handle_t handle)
{
    native_lock_acquire(&s_lock);
    handle_t **link = find_handle(handle);
    if (*link != NULL) {
        close_handle(link);
    }
    native_lock_release(&s_lock);
}

esp_err_t nvs_commit(nvs_handle_t handle)
{
    native_lock_acquire(&s_lock);
    esp_err_t err =
        *find_handle(handle) == NULL ? ESP_ERR_NVS_INVALID_HANDLE : ESP_OK; // values are written when set
    native_lock_release(&s_lock);
    return err;
}

static esp_err_t set_value(nvs_handle_t number, uint8_t type, const char *key, const void *data, size_t size)
{
    native_lock_acquire(&s_lock);
    handle_t *handle = *find_handle(number);
    esp_err_t err = handle == NULL     ? ESP_ERR_NVS_INVALID_HANDLE
                    : handle->readonly ? ESP_ERR_NVS_READ_ONLY
                                       : write_value(handle->ns, type, key, data, size);
    native_lock_release(&s_lock);
    return err;
}

static esp_err_t get_number(nvs_handle_t number, uint8_t type, const char *key, void *out, size_t size)
{
    native_lock_acquire(&s_lock);
    handle_t *handle = *find_handle(number);
    esp_err_t err = ESP_ERR_NVS_INVALID_HANDLE;
    if (handle != NULL) {
        item_t item;
        uint32_t entry;
        err = find(handle->ns, type, key, CHUNK_ANY, &item, &entry) == NULL ? ESP_ERR_NVS_NOT_FOUND : ESP_OK;
        if (err == ESP_OK) {
            memcpy(out, item.data, size);
        }
    }
    native_lock_release(&s_lock);
    return err;
}

static esp_err_t get_sized(nvs_handle_t number, uint8_t type, const char *key, void *out, size_t *length)
{
    handle_t *handle = *find_handle(number);
    if (handle == NULL) {
        return ESP_ERR_NVS_INVALID_HANDLE;
    }
    item_t item;
    uint32_t entry;
    page_t *page = find(handle->ns, type, key, CHUNK_ANY, &item, &entry);
    if (page == NULL) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    size_t size = type == TYPE_SZ ? item.variable.size : item.index.size;
    if (length == NULL) {
        return ESP_ERR_NVS_INVALID_LENGTH;
    }
    if (out == NULL) {
        *length = size;
        return ESP_OK;
    }
    if (*length < size) {
        *length = size;
        return ESP_ERR_NVS_INVALID_LENGTH;
    }
    *length = size;
    return type == TYPE_SZ ? read_data(page, entry, &item, out) : read_blob(handle->ns, key, &item, out);
}

#define NUMBER_FUNCTIONS(name, ctype, type)                                          \
    esp_err_t nvs_set_##name(nvs_handle_t handle, const char *key, ctype value)      \
    {                                                                                \
        return set_value(handle, type, key, &value, sizeof value);                   \
    }                                                                                \
    esp_err_t nvs_get_##name(nvs_handle_t handle, const char *key, ctype *out_value) \
    {                                                                                \
        return get_number(handle, type, key, out_value, sizeof *out_value);          \
    }

NUMBER_FUNCTIONS(i8, int8_t, NVS_TYPE_I8)
NUMBER_FUNCTIONS(u8, uint8_t, NVS_TYPE_U8)
NUMBER_FUNCTIONS(i16, int16_t, NVS_TYPE_I16)
NUMBER_FUNCTIONS(u16, uint16_t, NVS_TYPE_U16)
NUMBER_FUNCTIONS(i32, int32_t, NVS_TYPE_I32)
NUMBER_FUNCTIONS(u32, uint32_t, NVS_TYPE_U32)
NUMBER_FUNCTIONS(i64, int64_t, NVS_TYPE_I64)
NUMBER_FUNCTIONS(u64, uint64_t, NVS_TYPE_U64)

esp_err_t nvs_set_str(nvs_handle_t handle, const char *key, const char *value)
{
    return set_value(handle, TYPE_SZ, key, value, strlen(value) + 1);
}

esp_err_t nvs_get_str(nvs_handle_t handle, const char *key, char *out_value, size_t *length)
{
    native_lock_acquire(&s_lock);
    esp_err_t err = get_sized(handle, TYPE_SZ, key, out_value, length);
    native_lock_release(&s_lock);
    return err;
}

esp_err_t nvs_set_blob(nvs_handle_t handle, const char *key, const void *value, size_t length)
{
    return set_value(handle, TYPE_BLOB_INDEX, key, value, length);
}

esp_err_t nvs_get_blob(nvs_handle_t handle, const char *key, void *out_value, size_t *length)
{
    native_lock_acquire(&s_lock);
    esp_err_t err = get_sized(handle, TYPE_BLOB_INDEX, key, out_value, length);
    native_lock_release(&s_lock);
    return err;
}

static esp_err_t erase_value(uint8_t ns, const char *key)
{
    item_t item;
    uint32_t entry;
    page_t *page = find(ns, TYPE_ANY, key, CHUNK_ANY, &item, &entry);
    if (page == NULL) {
        return ESP_ERR_NVS_NOT_FOUND;
    }
    if (item.type == TYPE_BLOB_INDEX) {
        erase_blob(ns, key, &item);
    }
    return erase_entry(page, entry);
}

static esp_err_t erase(nvs_handle_t number, const char *key)
{
    handle_t *handle = *find_handle(number);
    if (handle == NULL) {
        return ESP_ERR_NVS_INVALID_HANDLE;
    }
    if (handle->readonly) {
        return ESP_ERR_NVS_READ_ONLY;
    }
    if (key != NULL) {
        return erase_value(handle->ns, key);
    }
    for (page_t *page = s_used; page != NULL; page = page->next) {
        item_t item;
        for (uint32_t entry = 0; find_in_page(page, &entry, handle->ns, TYPE_ANY, NULL, 0, &item);
             entry += item.span) {
            esp_err_t err = erase_entry(page, entry);
            if (err != ESP_OK) {
                return err;
            }
        }
    }
    return ESP_OK;
}

esp_err_t nvs_erase_key(nvs_handle_t handle, const char *key)
{
    native_lock_acquire(&s_lock);
    esp_err_t err = erase(handle, key);
    native_lock_release(&s_lock);
    return err;
}

esp_err_t nvs_erase_all(nvs_handle_t handle)
{
    native_lock_acquire(&s_lock);
    esp_err_t err = erase(handle, NULL);
    native_lock_release(&s_lock);
    return err;
}
