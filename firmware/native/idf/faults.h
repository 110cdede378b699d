/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Faults requested by the board's user.
 */
#pragma once

#include <stdbool.h>

typedef struct {
    bool boot_loop;          /* every boot ends in a panic before app_main() */
    bool power_cut_at_panic; /* instead of a panic, the board loses its power */
    bool no_sensor;          /* no camera is connected */
    bool sensor_dead;        /* a sensor that was used does not answer until its power is cut */
    bool sensor_used;        /* the sensor was used before this boot */
    bool i2s_no_memory;      /* allocations of I2S DMA buffers fail */
} native_faults_t;

extern native_faults_t g_native_faults;

/* Takes a request `name` or `name=number`; false if it is unknown. Modifies the line. */
bool native_faults_line(char *line);
/* Starts to accept faults from the control socket, and to trigger them in running tasks. */
void native_faults_init(void);
