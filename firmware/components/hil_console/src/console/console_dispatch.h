/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "console_parser.h"

/**
 * @brief Parses a line, runs its command, sends the reply. Console task only.
 * @return what is to be called once the reply has left the UART, or NULL
 */
void (*console_dispatch(console_line_t *line))(void);
