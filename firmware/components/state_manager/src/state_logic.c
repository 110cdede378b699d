/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "state_logic.h"

bool state_can_be_asked(system_state_t state)
{
    return state == SYSTEM_STATE_CAMERA_STANDBY || state == SYSTEM_STATE_VOICE_ACTIVE ||
           state == SYSTEM_STATE_SHUTDOWN;
}

state_decision_t state_decide(system_state_t now, system_state_t wanted)
{
    if (!state_can_be_asked(wanted)) {
        return STATE_REFUSE;
    }
    if (now == wanted) {
        return STATE_STAY;
    }
    return now == SYSTEM_STATE_SHUTDOWN ? STATE_REFUSE : STATE_CHANGE;
}

const char *state_manager_name(system_state_t state)
{
    switch (state) {
    case SYSTEM_STATE_INIT: return "init";
    case SYSTEM_STATE_CAMERA_STANDBY: return "camera";
    case SYSTEM_STATE_VOICE_ACTIVE: return "voice";
    case SYSTEM_STATE_ERROR: return "error";
    case SYSTEM_STATE_SHUTDOWN: return "shutdown";
    default: return "?";
    }
}
