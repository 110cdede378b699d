/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Parser for the header of a RIFF/WAVE stream, byte by byte up to the first sample. It is strict: an invalid
 * length, a chunk in the wrong place and contradictory values are errors. Pure: no IDF header.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Longest header accepted, bytes. A header with a cover picture, for example, is longer. */
#define WAV_HEAD_MAX 4096u

typedef enum {
    WAV_OK,
    WAV_NO_RIFF,    /*!< the stream does not start with RIFF … WAVE */
    WAV_BAD_LENGTH, /*!< a length reaches beyond the file or the stream, or is too short for its contents */
    WAV_BAD_ORDER,  /*!< samples before their format, or two formats */
    WAV_BAD_FORMAT, /*!< values in the format chunk contradict each other */
    WAV_NO_SAMPLES, /*!< no samples, or not a whole number of frames */
    WAV_CUT_SHORT,  /*!< the stream has the announced length, but ends before the first sample */
    WAV_HEAD_TOO_LONG,  /*!< more than WAV_HEAD_MAX */
    WAV_UNKNOWN_LENGTH, /*!< neither the stream's length nor the header gives the number of samples */
    WAV_NOT_SUPPORTED,  /*!< not 16-bit PCM in one or two channels */
    WAV_ERRORS_,
} wav_error_t;

typedef enum {
    WAV_HEAD,    /*!< needs more bytes of the header */
    WAV_SAMPLES, /*!< the next byte is the first byte of the first sample */
    WAV_REFUSED, /*!< see error; no more bytes are parsed */
} wav_state_t;

typedef struct {
    wav_state_t state;
    wav_error_t error;
    /* valid in WAV_SAMPLES */
    uint32_t sample_rate_hz;
    uint16_t channels;
    uint32_t data_bytes; /*!< bytes of samples, a whole number of frames */

    /* private to the parser */
    uint32_t offset;   /*!< bytes parsed */
    uint32_t skip;     /*!< bytes to skip */
    uint64_t riff_end; /*!< offset of the end of the file, from its RIFF length */
    uint32_t stream_bytes;
    uint8_t part; /*!< the part being collected */
    uint8_t have; /*!< number of collected bytes of that part */
    uint32_t chunk_size;
    uint8_t piece[16];
} wav_parser_t;

/** stream_bytes: length of the stream, bytes; 0: unknown. */
void wav_parser_init(wav_parser_t *parser, uint32_t stream_bytes);
/** Parses bytes up to the first sample or the first error. Returns the number of bytes parsed. */
size_t wav_parser_feed(wav_parser_t *parser, const uint8_t *data, size_t len);
/** Description of the error, for a log line. */
const char *wav_error_text(wav_error_t error);
