/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's esp_private/cache_utils.h: the host has no flash cache that can be off.
 */
#pragma once

#include <stdbool.h>

static inline bool spi_flash_cache_enabled(void)
{
    return true;
}
