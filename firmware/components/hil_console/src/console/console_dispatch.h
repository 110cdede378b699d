/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "console_parser.h"

/**
 * @brief Parses a line, runs its command, and sends the reply. Console task only.
 * @param[out] after function to call when the reply has left the UART, or NULL
 * @return true if a program sent the line, even if the line was damaged
 */
bool console_dispatch(console_line_t *line, void (**after)(void));
