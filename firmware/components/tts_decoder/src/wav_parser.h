/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Parser for the header of a RIFF/WAVE stream, byte by byte up to the first sample. Strict: a length that
 * does not fit, a chunk in the wrong place, or figures that contradict each other are errors. Pure: no IDF
 * header.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** A longer header (with a cover picture, for example) is refused. */
#define WAV_HEAD_MAX 4096u

typedef enum {
    WAV_OK,
    WAV_NO_RIFF,    /*!< it does not begin with RIFF … WAVE */
    WAV_BAD_LENGTH, /*!< a length reaches beyond the file or the stream, or is too short for what it holds */
    WAV_BAD_ORDER,  /*!< samples before their format, or two formats */
    WAV_BAD_FORMAT, /*!< the format contradicts itself */
    WAV_NO_SAMPLES, /*!< no samples, or not a whole number of frames */
    WAV_HEAD_TOO_LONG,  /*!< more than WAV_HEAD_MAX */
    WAV_UNKNOWN_LENGTH, /*!< neither the stream nor its header has the number of samples */
    WAV_NOT_SUPPORTED,  /*!< not PCM of 16 bit in one or two channels */
    WAV_ERRORS_,
} wav_error_t;

typedef enum {
    WAV_HEAD,    /*!< wants more bytes */
    WAV_SAMPLES, /*!< the next byte is the first sample's */
    WAV_REFUSED, /*!< see error; takes nothing more */
} wav_state_t;

typedef struct {
    wav_state_t state;
    wav_error_t error;
    /* valid in WAV_SAMPLES */
    uint32_t sample_rate_hz;
    uint16_t channels;
    uint32_t data_bytes; /*!< of samples, a whole number of frames */

    /* the parser's own */
    uint32_t offset;   /*!< bytes taken */
    uint32_t skip;     /*!< bytes to pass over */
    uint64_t riff_end; /*!< where the file says it ends */
    uint32_t stream_bytes;
    uint8_t part; /*!< the piece being collected */
    uint8_t have; /*!< bytes of it so far */
    uint32_t chunk_size;
    uint8_t piece[16];
} wav_parser_t;

/** stream_bytes: length of the stream, 0: unknown. */
void wav_parser_init(wav_parser_t *parser, uint32_t stream_bytes);
/** Parses bytes up to the first sample or the first error; returns the number parsed. */
size_t wav_parser_feed(wav_parser_t *parser, const uint8_t *data, size_t len);
/** "a length reaches beyond…": for a log line. */
const char *wav_error_text(wav_error_t error);
