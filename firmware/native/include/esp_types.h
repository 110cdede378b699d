/* Host stand-in for ESP-IDF's esp_types.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
