/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The words that only people use: help, ?, and Tab. Console task only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "console_parser.h"
#include "line_editor.h"

/**
 * @brief Answers `help`, `?`, `help mem`, `help heap.hold`, `heap.hold ?`.
 * @return false if a person's line is none of these
 */
bool console_help(console_line_result_t result, const console_request_t *request);

/** line_editor_io_t's: what Tab can put in. */
bool console_complete_line(const char *text, size_t length, size_t index, line_editor_word_t *word);
