/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Git commits of the firmware and of ESP-IDF.
 */
#pragma once

/** A constant in the image; hotpin_hil/boards/origin.py finds it by its mark. Strings end with a NUL. */
typedef struct {
    char mark[20];
    char commit[44];     //!< 40 hex digits; empty if the sources were not in git
    char dirty[16];      //!< First 12 hex digits of the hash of uncommitted changes; empty if there were none
    char idf_commit[44]; //!< Like commit, of ESP-IDF; empty in the host build
} build_origin_t;

extern const build_origin_t g_build_origin;
