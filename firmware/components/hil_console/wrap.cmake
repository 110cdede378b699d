# The functions that heap_fail.c, quiet.c and step_hook.c wrap. Read by this component's CMakeLists.txt and by
# the host build.
set(HIL_CONSOLE_WRAPPED
    heap_caps_malloc
    heap_caps_calloc
    heap_caps_realloc
    heap_caps_aligned_alloc
    heap_caps_aligned_calloc
    heap_caps_register_failed_alloc_callback
    state_manager_enter_step
    telemetry_send
)
