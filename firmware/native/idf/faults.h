/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Faults on request, from the board's user.
 */
#pragma once

#include <stdbool.h>

typedef struct {
    bool boot_loop;          /* every start ends in a panic before app_main() */
    bool power_cut_at_panic; /* where the chip would panic, its power is cut instead */
    bool no_sensor;          /* the camera's connector is empty */
    bool sensor_dead;        /* once used, the sensor answers only after its power was cut */
    bool sensor_used;        /* ... and it was used before this start */
    bool i2s_no_memory;      /* there is no room for I2S's DMA buffers */
} native_faults_t;

extern native_faults_t g_native_faults;

/* `name` or `name=number`; false if it is unknown. The line is written to. */
bool native_faults_line(char *line);
/* From here on faults are accepted from the control socket, and act in running tasks. */
void native_faults_init(void);
