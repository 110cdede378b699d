/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mem_ring.h"

#include "telemetry_crc.h"

#define MAGIC (0x4D454D00U ^ (uint32_t)sizeof(mem_bank_t))

static uint32_t header_check(const mem_bank_t *bank)
{
    return telemetry_crc16(TELEMETRY_CRC_START, bank, offsetof(mem_bank_t, check));
}

static bool header_valid(const mem_bank_t *bank)
{
    return bank->magic == MAGIC && bank->check == header_check(bank);
}

static uint32_t slot_check(const memory_snapshot_t *snapshot, uint32_t generation)
{
    uint16_t crc = telemetry_crc16(TELEMETRY_CRC_START, snapshot, sizeof(*snapshot));
    return telemetry_crc16(crc, &generation, sizeof(generation));
}

int mem_ring_open(mem_ring_t *ring, const memory_last_boot_t *boot, bool *last_valid)
{
    bool valid[2] = {header_valid(&ring->bank[0]), header_valid(&ring->bank[1])};
    int last =
        valid[0] && valid[1] ? (int32_t)(ring->bank[1].generation - ring->bank[0].generation) > 0 : valid[1];
    mem_bank_t *bank = &ring->bank[1 - last];

    *last_valid = valid[last];
    bank->magic = MAGIC;
    bank->generation = valid[last] ? ring->bank[last].generation + 1 : 1;
    bank->boot = *boot;
    for (size_t i = 0; i < MEMORY_HISTORY_SIZE; i++) {
        bank->slot[i].check = ~0U; /* no CRC-16 has this value */
    }
    bank->check = header_check(bank);
    return 1 - last;
}

void mem_bank_put(mem_bank_t *bank, const memory_snapshot_t *snapshot)
{
    mem_slot_t *slot = &bank->slot[snapshot->sequence % MEMORY_HISTORY_SIZE];
    slot->snapshot = *snapshot;
    slot->check = slot_check(snapshot, bank->generation);
}

static bool slot_valid(const mem_bank_t *bank, size_t index)
{
    const mem_slot_t *slot = &bank->slot[index];
    return slot->snapshot.sequence % MEMORY_HISTORY_SIZE == index && slot->snapshot.sequence != 0 &&
           slot->check == slot_check(&slot->snapshot, bank->generation);
}

bool mem_bank_get(const mem_bank_t *bank, uint32_t sequence, memory_snapshot_t *out)
{
    size_t index = sequence % MEMORY_HISTORY_SIZE;
    if (!slot_valid(bank, index) || bank->slot[index].snapshot.sequence != sequence) {
        return false;
    }
    *out = bank->slot[index].snapshot;
    return true;
}

size_t mem_bank_list(const mem_bank_t *bank, memory_snapshot_t *out, size_t max)
{
    uint32_t newest = 0;
    size_t count = 0;
    for (size_t i = 0; i < MEMORY_HISTORY_SIZE; i++) {
        if (slot_valid(bank, i) && bank->slot[i].snapshot.sequence > newest) {
            newest = bank->slot[i].snapshot.sequence;
        }
    }
    for (uint32_t age = 0; age < MEMORY_HISTORY_SIZE && age < newest && count < max; age++) {
        if (mem_bank_get(bank, newest - age, &out[count])) {
            count++;
        }
    }
    return count;
}
