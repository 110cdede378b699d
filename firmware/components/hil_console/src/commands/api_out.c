/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_out.h"

api_out_t *api_out(void)
{
    static api_out_t s_out;
    return &s_out;
}
