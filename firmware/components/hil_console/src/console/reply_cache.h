/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Cache of the last replies. If a reply is lost, the host repeats the request, and gets the cached reply.
 * Console task only.
 *
 * Pure: no IDF header. Keeps the newest replies, at most REPLY_CACHE_ENTRIES and at most REPLY_CACHE_SIZE
 * bytes. Only a query can have a longer reply; a repeated query is executed again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_CACHE_ENTRIES 4
#define REPLY_CACHE_SIZE 4096

/** Starts the reply to this request; may drop the oldest reply. */
void reply_cache_begin(uint16_t id, uint32_t hash);

/** Adds a line to the reply that was started last. */
void reply_cache_add(const char *line, size_t length);

/**
 * @brief Reads a cached reply in pieces.
 * @param offset bytes of the reply read so far
 * @return bytes written to `out`, whole lines only; 0 at the end, or if the reply is not cached
 */
size_t reply_cache_read(uint16_t id, uint32_t hash, size_t offset, char *out, size_t size);
