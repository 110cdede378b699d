# Reads the CMakeLists.txt of components without a toolchain, as ESP-IDF's build system does before it configures
# the project. Writes one line for each component that registers itself:
#   name <tab> directory <tab> SRCS <tab> INCLUDE_DIRS <tab> PRIV_INCLUDE_DIRS <tab> REQUIRES <tab> PRIV_REQUIRES
# Lists are separated by semicolons; sources and directories are as written, relative to the component's directory.
#
# Reads the components named in ROOTS, the components they require, and those that these require publicly.
#
# cmake -D IDF_PATH=… -D LIST=… (file with the directories of all components, one per line) -D ROOTS=… -D OUT=…
#       [-D CONFIG=… (file of set(CONFIG_… …) lines)] -P components.cmake
cmake_minimum_required(VERSION 3.16)
cmake_policy(SET CMP0057 NEW)

# Variables and functions of the build system that component scripts use before they register.
set(IDF_TARGET esp32)
set(IDF_TARGET_ARCH xtensa)
set(IDF_TOOLCHAIN gcc)
set(idf_path ${IDF_PATH})
set(idf_target esp32)
set(CMAKE_C_COMPILER_ID GNU)
set(ENV{IDF_PATH} ${IDF_PATH})
if(DEFINED CONFIG)
    include(${CONFIG})
else()
    # ESP-IDF reads REQUIRES before the configuration exists.
    set(CMAKE_BUILD_EARLY_EXPANSION 1)
endif()
include(${IDF_PATH}/tools/cmake/utilities.cmake)
include(${IDF_PATH}/tools/cmake/version.cmake)

function(idf_build_get_property var property)
    set(${var} "${${property}}" PARENT_SCOPE)
endfunction()
function(idf_component_get_property var component property)
    set(${var} "" PARENT_SCOPE)
endfunction()
macro(require_idf_targets)
endmacro()

macro(idf_component_register)
    cmake_parse_arguments(REG "WHOLE_ARCHIVE" "KCONFIG;KCONFIG_PROJBUILD"
        "SRCS;SRC_DIRS;EXCLUDE_SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS;LDFRAGMENTS;REQUIRES;PRIV_REQUIRES;REQUIRED_IDF_TARGETS;EMBED_FILES;EMBED_TXTFILES"
        ${ARGN})
    set(tab "	")
    file(APPEND ${OUT} "${COMPONENT_NAME}${tab}${COMPONENT_DIR}${tab}${REG_SRCS}${tab}${REG_INCLUDE_DIRS}${tab}${REG_PRIV_INCLUDE_DIRS}${tab}${REG_REQUIRES}${tab}${REG_PRIV_REQUIRES}\n")
    set_property(GLOBAL PROPERTY requires "${REG_REQUIRES}")
    set_property(GLOBAL PROPERTY private_requires "${REG_PRIV_REQUIRES}")
    return()
endmacro()

function(read_component COMPONENT_NAME)
    set(COMPONENT_DIR ${directory_of_${COMPONENT_NAME}})
    set(COMPONENT_PATH ${COMPONENT_DIR})
    set(CMAKE_CURRENT_SOURCE_DIR ${COMPONENT_DIR})
    include(${COMPONENT_DIR}/CMakeLists.txt)
endfunction()

file(WRITE ${OUT} "")
file(STRINGS ${LIST} directories)
foreach(directory IN LISTS directories)
    # A component from the registry is in a directory namespace__name, but required as name.
    get_filename_component(name ${directory} NAME)
    string(REGEX REPLACE "^.*__" "" name ${name})
    set(directory_of_${name} ${directory})
endforeach()

set(todo ${ROOTS})
set(seen)
while(todo)
    list(POP_FRONT todo name)
    if(NOT name IN_LIST seen AND DEFINED directory_of_${name})
        list(APPEND seen ${name})
        set_property(GLOBAL PROPERTY requires "")
        set_property(GLOBAL PROPERTY private_requires "")
        read_component(${name})
        get_property(requires GLOBAL PROPERTY requires)
        get_property(private_requires GLOBAL PROPERTY private_requires)
        list(APPEND todo ${requires})
        if(name IN_LIST ROOTS)
            list(APPEND todo ${private_requires})
        endif()
    endif()
endwhile()
