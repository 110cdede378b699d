/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * CMake requires a source; the program is in the libraries.
 */
typedef int nothing_t;
