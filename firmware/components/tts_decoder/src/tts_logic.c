/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tts_logic.h"

#include "tts_decoder.h"

tts_admission_t tts_admit(uint32_t psram_free, bool block_available)
{
    if (psram_free < TTS_REQUIRED_PSRAM) {
        return TTS_TOO_LITTLE;
    }
    return block_available ? TTS_ADMITTED : TTS_NO_BLOCK;
}

bool tts_write_fits(uint32_t written, uint32_t stream_bytes, uint32_t room, size_t size)
{
    uint32_t left = UINT32_MAX;
    if (stream_bytes != 0) {
        left = written < stream_bytes ? stream_bytes - written : 0;
    }
    return size <= room && size <= left;
}
