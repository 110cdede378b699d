# Builds the project's ESP-IDF components from their own CMakeLists.txt, with those options of
# idf_component_register() that they use. ESP-IDF components in REQUIRES need no target: the native runtime contains
# them. Project components are found only if they are listed in HOTPIN_COMPONENTS.
set(HOTPIN_IDF_COMPONENTS
    driver esp32-camera esp_app_format esp_common esp_driver_gpio esp_driver_i2s esp_driver_ledc esp_driver_uart
    esp_hw_support esp_partition esp_psram esp_ringbuf esp_rom esp_system esp_timer espcoredump freertos heap log newlib nvs_flash
    spi_flash vfs)

macro(idf_component_register)
    cmake_parse_arguments(ARG "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS;REQUIRES;PRIV_REQUIRES;LDFRAGMENTS" ${ARGN})
    if(ARG_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "component ${COMPONENT_NAME}: the host build does not support "
            "idf_component_register(${ARG_UNPARSED_ARGUMENTS}); add it to native/cmake/components.cmake")
    endif()
    set(COMPONENT_LIB hotpin_component_${COMPONENT_NAME})
    if(ARG_SRCS)
        add_library(${COMPONENT_LIB} OBJECT ${ARG_SRCS})
        hotpin_component_options(${COMPONENT_LIB})
        if(HOTPIN_COVERAGE)
            # A section for each counter, so that coverage/counters.ld finds them.
            target_compile_options(${COMPONENT_LIB} PRIVATE --coverage -fprofile-update=atomic -fdata-sections)
        endif()
        target_include_directories(${COMPONENT_LIB} PRIVATE ${ARG_INCLUDE_DIRS} ${ARG_PRIV_INCLUDE_DIRS})
    else()
        add_library(${COMPONENT_LIB} INTERFACE)
    endif()
    set(dirs)
    foreach(dir IN LISTS ARG_INCLUDE_DIRS)
        get_filename_component(dir ${dir} ABSOLUTE)
        list(APPEND dirs ${dir})
    endforeach()
    set_property(GLOBAL PROPERTY HOTPIN_INCLUDES_${COMPONENT_NAME} ${dirs})
    set_property(GLOBAL PROPERTY HOTPIN_PUBLIC_${COMPONENT_NAME} ${ARG_REQUIRES})
    set_property(GLOBAL PROPERTY HOTPIN_PRIVATE_${COMPONENT_NAME} ${ARG_PRIV_REQUIRES})
endmacro()

# Sets each component's include path: its own directories, those of the components it requires, and those that they
# require publicly. Call it after all components are registered.
function(hotpin_link_components executable)
    foreach(component IN LISTS HOTPIN_COMPONENTS)
        set(library hotpin_component_${component})
        get_property(public GLOBAL PROPERTY HOTPIN_PUBLIC_${component})
        get_property(private GLOBAL PROPERTY HOTPIN_PRIVATE_${component})
        set(open ${public} ${private})
        set(seen)
        while(open)
            list(POP_FRONT open dependency)
            if(dependency IN_LIST HOTPIN_IDF_COMPONENTS OR dependency IN_LIST seen)
                continue()
            endif()
            if(NOT dependency IN_LIST HOTPIN_COMPONENTS)
                message(FATAL_ERROR "component ${component} requires '${dependency}', which is neither a component of "
                    "this project nor an ESP-IDF component that the native runtime provides "
                    "(native/cmake/components.cmake)")
            endif()
            list(APPEND seen ${dependency})
            get_property(more GLOBAL PROPERTY HOTPIN_PUBLIC_${dependency})
            list(APPEND open ${more})
        endwhile()
        get_target_property(type ${library} TYPE)
        foreach(dependency IN LISTS seen)
            get_property(dirs GLOBAL PROPERTY HOTPIN_INCLUDES_${dependency})
            if(NOT type STREQUAL "INTERFACE_LIBRARY")
                target_include_directories(${library} PRIVATE ${dirs})
            endif()
        endforeach()
        target_link_libraries(${executable} PRIVATE ${library})
    endforeach()
endfunction()
