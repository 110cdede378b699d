/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Decisions of the decoder. Pure: no IDF header, also compiled for the host tests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    TTS_ADMITTED,
    TTS_TOO_LITTLE, /*!< free PSRAM is below TTS_REQUIRED_PSRAM */
    TTS_NO_BLOCK,   /*!< enough PSRAM is free in total, but no block is large enough */
} tts_admission_t;

/** @param block_available true if a block of TTS_STREAM_BUFFER_SIZE bytes can be allocated now */
tts_admission_t tts_admit(uint32_t psram_free, bool block_available);

/**
 * True if `size` more bytes fit into the free part of the buffer (`room`), and into the rest of the announced
 * length: `stream_bytes` (0: unknown) minus `written`.
 */
bool tts_write_fits(uint32_t written, uint32_t stream_bytes, uint32_t room, size_t size);
