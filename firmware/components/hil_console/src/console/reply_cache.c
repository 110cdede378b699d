/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "reply_cache.h"

#include <string.h>

typedef struct {
    uint16_t id; /* 0: empty */
    uint32_t hash;
    size_t start; /* offset in s_ring */
    size_t length;
} entry_t;

static char s_ring[REPLY_CACHE_SIZE];
static entry_t s_entries[REPLY_CACHE_ENTRIES]; /* oldest first; the last is the one being written */

static void drop_oldest(void)
{
    memmove(&s_entries[0], &s_entries[1], sizeof(s_entries) - sizeof(s_entries[0]));
    s_entries[REPLY_CACHE_ENTRIES - 1] = (entry_t){0};
}

static size_t used_bytes(void)
{
    size_t used = 0;
    for (size_t i = 0; i < REPLY_CACHE_ENTRIES; i++) {
        used += s_entries[i].length;
    }
    return used;
}

void reply_cache_begin(uint16_t id, uint32_t hash)
{
    entry_t *last = &s_entries[REPLY_CACHE_ENTRIES - 1];
    size_t start = (last->start + last->length) % REPLY_CACHE_SIZE;
    drop_oldest();
    *last = (entry_t){.id = id, .hash = hash, .start = start};
}

void reply_cache_add(const char *line, size_t length)
{
    entry_t *last = &s_entries[REPLY_CACHE_ENTRIES - 1];
    if (last->id == 0) {
        return;
    }
    if (last->length + length > REPLY_CACHE_SIZE) {
        *last = (entry_t){.start = last->start};
        return;
    }
    for (size_t i = 0; i + 1 < REPLY_CACHE_ENTRIES && used_bytes() + length > REPLY_CACHE_SIZE; i++) {
        s_entries[i] = (entry_t){0};
    }
    for (size_t i = 0; i < length; i++) {
        s_ring[(last->start + last->length++) % REPLY_CACHE_SIZE] = line[i];
    }
}

size_t reply_cache_read(uint16_t id, uint32_t hash, size_t offset, char *out, size_t size)
{
    for (size_t i = REPLY_CACHE_ENTRIES; i-- > 0;) {
        const entry_t *entry = &s_entries[i];
        if (entry->id != id || entry->hash != hash || id == 0) {
            continue;
        }
        size_t whole = 0;
        for (size_t n = 0; n < size && offset + n < entry->length; n++) {
            out[n] = s_ring[(entry->start + offset + n) % REPLY_CACHE_SIZE];
            whole = out[n] == '\n' ? n + 1 : whole;
        }
        return whole;
    }
    return 0;
}
