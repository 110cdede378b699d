/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Lock-free slots for any number of writers and one reader. A FREE slot has no owner, a WRITING slot is owned
 * by the writer that set it to WRITING, and a WRITTEN slot is owned by the reader. A delayed writer blocks
 * only its own slot.
 */
#include "mem_alloc_failed.h"

#include <stdatomic.h>
#include "esp_attr.h"

enum { FREE, WRITING, WRITTEN };

typedef struct {
    atomic_uint owner;
    unsigned order; /* sequence number of the failure */
    mem_alloc_failed_t failed;
} slot_t;

static slot_t s_slots[MEM_ALLOC_FAILED_SLOTS];
static atomic_uint s_next_order;
static atomic_uint s_lost;

IRAM_ATTR void mem_alloc_failed_put(const mem_alloc_failed_t *failed)
{
    for (int i = 0; i < MEM_ALLOC_FAILED_SLOTS; i++) {
        unsigned owner = FREE;
        if (atomic_compare_exchange_strong(&s_slots[i].owner, &owner, WRITING)) {
            s_slots[i].order = atomic_fetch_add(&s_next_order, 1);
            s_slots[i].failed = *failed;
            atomic_store(&s_slots[i].owner, WRITTEN);
            return;
        }
    }
    atomic_fetch_add(&s_lost, 1);
}

bool mem_alloc_failed_take(mem_alloc_failed_t *out, uint32_t *lost)
{
    slot_t *oldest = NULL;
    for (int i = 0; i < MEM_ALLOC_FAILED_SLOTS; i++) {
        if (atomic_load(&s_slots[i].owner) == WRITTEN &&
            (oldest == NULL || (int)(s_slots[i].order - oldest->order) < 0)) {
            oldest = &s_slots[i];
        }
    }
    if (oldest == NULL) {
        return false;
    }
    *out = oldest->failed;
    atomic_store(&oldest->owner, FREE);
    *lost += atomic_exchange(&s_lost, 0);
    return true;
}

size_t mem_alloc_failed_static_size(void)
{
    return sizeof(s_slots) + sizeof(s_next_order) + sizeof(s_lost);
}
