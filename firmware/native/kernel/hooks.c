#include "kernel/hooks.h"

native_hooks_t g_native_hooks;
