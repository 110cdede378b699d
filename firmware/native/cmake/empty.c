/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The program is in the libraries, but CMake requires a source for an executable.
 */
typedef int nothing_t;
