/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Interactive use only: help, ?, and Tab. Console task only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "console_parser.h"
#include "line_editor.h"

/**
 * @brief Answers `help`, `?`, `help mem`, `help heap.hold`, `heap.hold ?`.
 * @return false if the line is none of these
 */
bool console_help(console_line_result_t result, const console_request_t *request);

/** Completion function of line_editor_io_t. */
bool console_complete_line(const char *text, size_t length, size_t index, line_editor_word_t *word);
