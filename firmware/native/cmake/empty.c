/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * cmake wants a source; the program is in the libraries.
 */
typedef int nothing_t;
