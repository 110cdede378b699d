/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "priority_list.h"

bool priority_is_valid(unsigned priority, unsigned count)
{
    return priority > 0 && priority < count;
}

bool priority_add(memory_priority_t **first, memory_priority_t *entry)
{
    for (const memory_priority_t *other = *first; other != NULL; other = other->next) {
        if (other == entry) {
            return false;
        }
    }
    entry->next = *first;
    *first = entry;
    return true;
}

bool priority_remove(memory_priority_t **first, const memory_priority_t *entry)
{
    memory_priority_t **link = first;
    while (*link != NULL && *link != entry) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return false;
    }
    *link = entry->next;
    return true;
}

bool priority_change(memory_priority_t *entry, bool is_pressed, unsigned *priority)
{
    if (entry->is_pressed == is_pressed) {
        return false;
    }
    entry->is_pressed = is_pressed;
    *priority = is_pressed ? entry->pressed : entry->normal;
    return true;
}
