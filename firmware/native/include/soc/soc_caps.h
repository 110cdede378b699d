/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Host version of ESP-IDF's soc/soc_caps.h: the few ESP32 capabilities that the build uses.
 */
#pragma once

#define SOC_CPU_CORES_NUM 2
#define SOC_UART_NUM 3
#define SOC_UART_HP_NUM 3
#define SOC_UART_FIFO_LEN 128
#define SOC_UART_BITRATE_MAX 5000000
#define SOC_SPIRAM_SUPPORTED 1
