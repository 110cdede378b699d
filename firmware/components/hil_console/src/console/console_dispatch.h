/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "console_parser.h"

/**
 * @brief Parses a line, runs its command, sends the reply. Console task only.
 * @param[out] after function to call once the reply has left the UART, or NULL
 * @return true if it was a program's request, also a damaged one
 */
bool console_dispatch(console_line_t *line, void (**after)(void));
