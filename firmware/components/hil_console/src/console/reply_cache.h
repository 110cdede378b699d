/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Cache of the last replies, sent again when the host repeats a request whose reply was lost. Console task
 * only.
 *
 * Pure: no IDF header. The last REPLY_CACHE_ENTRIES replies are kept as far as they fit into REPLY_CACHE_SIZE
 * bytes, the newest first. Only the reply to a query can be longer; its repeat is executed again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_CACHE_ENTRIES 4
#define REPLY_CACHE_SIZE 4096

/** Starts the reply to this request; the oldest one may go. */
void reply_cache_begin(uint16_t id, uint32_t hash);

/** Adds a line of the reply begun last. */
void reply_cache_add(const char *line, size_t length);

/**
 * @brief Reads a kept reply piece by piece.
 * @param offset bytes of it read so far
 * @return bytes written to `out`, whole lines only; 0: no such reply, or its end
 */
size_t reply_cache_read(uint16_t id, uint32_t hash, size_t offset, char *out, size_t size);
