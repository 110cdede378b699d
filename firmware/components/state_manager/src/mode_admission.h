/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Is there room for a mode? State task only.
 */
#pragma once

#include "state_manager.h"

typedef struct {
    const char *block; /*!< What it is for */
    size_t number;     /*!< Which of these, from 1 */
    uint32_t missing;  /*!< Its size, bytes */
    uint32_t largest;  /*!< The largest free block left in its place */
    uint32_t free;     /*!< Bytes free in that memory, all in all */
} mode_shortage_t;

/**
 * Looks whether all the blocks of the mode can be had together, beside what is held now.
 *
 * ESP_ERR_NO_MEM: no; *shortage names the first that cannot. The drivers' small objects (about 1 KB in all)
 * are not looked at: should they fail, the step that asks for them does.
 */
esp_err_t mode_admit(system_state_t mode, mode_shortage_t *shortage);
