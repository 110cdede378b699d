/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Format: "RIFF", length, "WAVE", then chunks. A chunk has a name, a length, its contents, and a padding byte
 * if the length is odd. "fmt " (16 bytes or more) must precede "data"; other chunks are skipped. All numbers
 * are little endian. A length of all ones, written by streaming encoders, means "unknown".
 */
#include "wav_parser.h"

#include <stdbool.h>
#include <string.h>

#define UNKNOWN 0xFFFFFFFFu
#define FORMAT_PCM 1

/* Parts of the header that are collected before they are parsed. */
enum { PART_RIFF, PART_CHUNK, PART_FORMAT };
static const uint8_t PART_SIZE[] = {12, 8, 16};

static uint16_t u16_at(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t u32_at(const uint8_t *bytes)
{
    return u16_at(bytes) | (uint32_t)u16_at(bytes + 2) << 16;
}

static bool is_named(const uint8_t *bytes, const char *name)
{
    return memcmp(bytes, name, 4) == 0;
}

void wav_parser_init(wav_parser_t *parser, uint32_t stream_bytes)
{
    *parser = (wav_parser_t){.stream_bytes = stream_bytes};
}

static wav_error_t riff(wav_parser_t *parser)
{
    if (!is_named(parser->piece, "RIFF") || !is_named(parser->piece + 8, "WAVE")) {
        return WAV_NO_RIFF;
    }
    uint32_t length = u32_at(parser->piece + 4);
    if (length == UNKNOWN) {
        parser->riff_end = parser->stream_bytes != 0 ? parser->stream_bytes : UINT64_MAX;
    } else {
        parser->riff_end = (uint64_t)length + 8; /* length counts neither "RIFF" nor itself */
        if (parser->stream_bytes != 0 && parser->riff_end > parser->stream_bytes) {
            return WAV_BAD_LENGTH;
        }
    }
    parser->part = PART_CHUNK;
    return WAV_OK;
}

/** Skips a chunk's contents and padding. */
static wav_error_t pass_over(wav_parser_t *parser, uint32_t size)
{
    uint64_t end = (uint64_t)parser->offset + size + (size & 1);
    if (end > WAV_HEAD_MAX) {
        return WAV_HEAD_TOO_LONG;
    }
    if (end >= parser->riff_end) {
        return WAV_NO_SAMPLES; /* no room for another chunk */
    }
    parser->skip = (uint32_t)(end - parser->offset);
    parser->part = PART_CHUNK;
    return WAV_OK;
}

static wav_error_t samples(wav_parser_t *parser)
{
    if (parser->channels == 0) {
        return WAV_BAD_ORDER;
    }
    uint32_t bytes = parser->chunk_size;
    if (bytes == UNKNOWN) {
        if (parser->riff_end == UINT64_MAX) {
            return WAV_UNKNOWN_LENGTH;
        }
        bytes = (uint32_t)(parser->riff_end - parser->offset);
    }
    if (bytes == 0 || bytes % (2u * parser->channels) != 0) { /* a sample is 2 bytes */
        return WAV_NO_SAMPLES;
    }
    parser->data_bytes = bytes;
    parser->state = WAV_SAMPLES;
    return WAV_OK;
}

static wav_error_t chunk(wav_parser_t *parser)
{
    bool is_data = is_named(parser->piece, "data");
    parser->chunk_size = u32_at(parser->piece + 4);
    bool known = !is_data || parser->chunk_size != UNKNOWN;
    if (parser->offset > parser->riff_end ||
        (known && parser->chunk_size > parser->riff_end - parser->offset)) {
        return WAV_BAD_LENGTH;
    }
    if (is_data) {
        return samples(parser);
    }
    if (!is_named(parser->piece, "fmt ")) {
        return pass_over(parser, parser->chunk_size);
    }
    if (parser->channels != 0) {
        return WAV_BAD_ORDER;
    }
    if (parser->chunk_size < PART_SIZE[PART_FORMAT]) {
        return WAV_BAD_LENGTH;
    }
    parser->part = PART_FORMAT;
    return WAV_OK;
}

static wav_error_t format(wav_parser_t *parser)
{
    uint16_t channels = u16_at(parser->piece + 2);
    uint32_t rate_hz = u32_at(parser->piece + 4);
    uint32_t bytes_per_second = u32_at(parser->piece + 8);
    uint16_t frame_bytes = u16_at(parser->piece + 12);
    uint16_t bits = u16_at(parser->piece + 14);
    if (u16_at(parser->piece) != FORMAT_PCM || channels < 1 || channels > 2 || bits != 16) {
        return WAV_NOT_SUPPORTED;
    }
    if (rate_hz == 0 || frame_bytes != 2 * channels || bytes_per_second != (uint64_t)rate_hz * frame_bytes) {
        return WAV_BAD_FORMAT;
    }
    parser->channels = channels;
    parser->sample_rate_hz = rate_hz;
    return pass_over(parser, parser->chunk_size - PART_SIZE[PART_FORMAT]);
}

static wav_error_t piece_complete(wav_parser_t *parser)
{
    parser->have = 0;
    switch (parser->part) {
    case PART_RIFF: return riff(parser);
    case PART_CHUNK: return chunk(parser);
    default: return format(parser);
    }
}

static wav_error_t take_byte(wav_parser_t *parser, uint8_t byte)
{
    parser->offset++;
    if (parser->skip > 0) {
        parser->skip--;
        return WAV_OK;
    }
    parser->piece[parser->have++] = byte;
    return parser->have == PART_SIZE[parser->part] ? piece_complete(parser) : WAV_OK;
}

size_t wav_parser_feed(wav_parser_t *parser, const uint8_t *data, size_t len)
{
    size_t taken = 0;
    while (taken < len && parser->state == WAV_HEAD) {
        parser->error = take_byte(parser, data[taken++]);
        if (parser->error == WAV_OK && parser->state == WAV_HEAD && parser->offset == parser->stream_bytes) {
            parser->error = WAV_CUT_SHORT;
        }
        if (parser->error != WAV_OK) {
            parser->state = WAV_REFUSED;
        }
    }
    return taken;
}

const char *wav_error_text(wav_error_t error)
{
    static const char *const TEXTS[] = {
        [WAV_OK] = "none",
        [WAV_NO_RIFF] = "not a RIFF/WAVE stream",
        [WAV_BAD_LENGTH] = "invalid length in the header",
        [WAV_BAD_ORDER] = "samples before their format, or two formats",
        [WAV_BAD_FORMAT] = "contradictory values in the format chunk",
        [WAV_NO_SAMPLES] = "no samples, or not a whole number of frames",
        [WAV_CUT_SHORT] = "the stream ends in its header",
        [WAV_HEAD_TOO_LONG] = "the header is too long",
        [WAV_UNKNOWN_LENGTH] = "the number of samples is unknown",
        [WAV_NOT_SUPPORTED] = "not 16-bit PCM in one or two channels",
    };
    return (unsigned)error < WAV_ERRORS_ ? TEXTS[error] : "?";
}
