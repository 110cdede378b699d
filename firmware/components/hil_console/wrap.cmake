# The functions that the hooks and quiet.c wrap. Included by this component's CMakeLists.txt and by the host build.
set(HIL_CONSOLE_WRAPPED
    audio_backend_open
    audio_backend_read
    audio_backend_write
    heap_caps_malloc
    heap_caps_calloc
    heap_caps_realloc
    heap_caps_aligned_alloc
    heap_caps_aligned_calloc
    heap_caps_malloc_default
    heap_caps_realloc_default
    heap_caps_register_failed_alloc_callback
    state_manager_enter_step
    telemetry_mark_start
    telemetry_send
)
set(idf_calls ${CMAKE_CURRENT_LIST_DIR}/src/hooks/idf_calls.def)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${idf_calls})
file(STRINGS ${idf_calls} calls REGEX "^(CALL|COUNTED|VOID_COUNTED)\\(")
foreach(call IN LISTS calls)
    string(REGEX REPLACE "^VOID_COUNTED\\(([^,]+),.*" "\\1" name "${call}")
    string(REGEX REPLACE "^(CALL|COUNTED)\\([^,]+, ([^,]+),.*" "\\2" name "${name}")
    list(APPEND HIL_CONSOLE_WRAPPED ${name})
endforeach()
