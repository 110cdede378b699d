/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target: feeds any bytes to the WAV parser, at once and in chunks. The first four bytes are the
 * announced length.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wav_parser.h"

/* Each chunk has its own allocation, so that the sanitizer finds reads beyond it. */
static size_t feed(wav_parser_t *parser, const uint8_t *data, size_t len, size_t piece)
{
    size_t at = 0;
    while (at < len && parser->state == WAV_HEAD) {
        size_t part = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(part);
        memcpy(copy, data + at, part);
        size_t taken = wav_parser_feed(parser, copy, part);
        free(copy);
        assert(taken <= part && (taken == part || parser->state != WAV_HEAD));
        at += taken;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t announced = 0;
    if (size < sizeof(announced)) {
        return 0;
    }
    memcpy(&announced, data, sizeof(announced));
    data += sizeof(announced);
    size -= sizeof(announced);

    wav_parser_t whole, pieces;
    wav_parser_init(&whole, announced);
    wav_parser_init(&pieces, announced);
    size_t taken = feed(&whole, data, size, size + 1);
    assert(feed(&pieces, data, size, 1 + announced % 7) == taken);
    assert(whole.state == pieces.state && whole.error == pieces.error &&
           whole.data_bytes == pieces.data_bytes);
    assert((whole.state == WAV_REFUSED) == (whole.error != WAV_OK));
    assert(wav_error_text(whole.error) != NULL && taken <= WAV_HEAD_MAX);
    if (whole.state == WAV_SAMPLES) {
        assert(whole.channels >= 1 && whole.channels <= 2 && whole.sample_rate_hz > 0);
        assert(whole.data_bytes > 0 && whole.data_bytes % (2u * whole.channels) == 0);
        assert(announced == 0 || (uint64_t)taken + whole.data_bytes <= announced);
    }
    return 0;
}
