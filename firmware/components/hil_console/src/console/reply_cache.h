/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The last replies, to be sent again when the host repeats a request whose answer it did not get. Console
 * task only.
 *
 * Pure: no IDF header. The last REPLY_CACHE_ENTRIES replies are kept as far as they fit into REPLY_CACHE_SIZE
 * bytes, the newest first. Only a query's answer can be longer than that; its repeat is a query again.
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
 * @return bytes written to `out`, from whole lines only; 0: no such reply, or nothing is left of it
 */
size_t reply_cache_read(uint16_t id, uint32_t hash, size_t offset, char *out, size_t size);
