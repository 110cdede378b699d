/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Digests of the samples that the audio backend plays and delivers, so that a test can compare them with a
 * file. In HIL builds the linker's --wrap puts the tap around the backend's functions.
 */
#pragma once

#include <stdint.h>

typedef struct {
    uint32_t frames; /*!< played since sound_tap_reset() or the driver's start */
    uint32_t left;   /*!< CRC-32 of their 16-bit samples, as in zlib */
    uint32_t right;
    uint32_t samples;  /*!< recorded */
    uint32_t recorded; /*!< CRC-32 of them */
} sound_tap_t;

void sound_tap_get(sound_tap_t *out);

void sound_tap_reset(void);

/** From now on, also after the driver's next start, each recorded sample has this value; NULL: the
 * microphone's. */
void sound_tap_replace(const int16_t *sample);
