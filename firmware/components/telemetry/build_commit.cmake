# Writes build_commit.h: the commit that the firmware is built from, and the state of its sources. Runs in each build.
#
# cmake -D SOURCES=… (folder of the firmware) -D IDF=… (ESP-IDF; empty in the host build) -D OUT=… -P build_commit.cmake
#
# HOTPIN_COMMIT     40 hex digits; empty if SOURCES is not in git, for example in a copy of the checkout
# HOTPIN_DIRTY      first 12 hex digits of the SHA-256 of all uncommitted changes below SOURCES; empty if there are none
# HOTPIN_IDF_COMMIT commit of ESP-IDF; empty if it is not in git
cmake_minimum_required(VERSION 3.16)

# Sets `out` to what git prints, and git_result to its exit status.
function(git out folder)
    execute_process(COMMAND git -C "${folder}" ${ARGN} OUTPUT_VARIABLE printed RESULT_VARIABLE result ERROR_QUIET
        OUTPUT_STRIP_TRAILING_WHITESPACE)
    set(${out} "${printed}" PARENT_SCOPE)
    set(git_result "${result}" PARENT_SCOPE)
endfunction()

# Sets `out` to the commit of a folder; "" if git does not track `file` in it. A repository around the folder may ignore
# the folder: the commit of that repository does not count.
function(find_commit out folder file)
    git(commit "${folder}" ls-files --error-unmatch "${file}")
    if(git_result EQUAL 0)
        git(commit "${folder}" rev-parse --verify HEAD)
    endif()
    if(NOT git_result EQUAL 0)
        set(commit "")
    endif()
    set(${out} "${commit}" PARENT_SCOPE)
endfunction()

find_commit(HOTPIN_COMMIT "${SOURCES}" CMakeLists.txt)
set(HOTPIN_DIRTY "")
if(HOTPIN_COMMIT)
    # As hotpin_hil/evidence/git_tree.py does: the hash of the diff, then name and hash of each new file.
    set(diff "${OUT}.diff")
    execute_process(
        COMMAND git -C "${SOURCES}" -c core.quotePath=true diff HEAD --binary --full-index --no-color --no-ext-diff
            --no-textconv --no-renames --unified=3 --src-prefix=a/ --dst-prefix=b/ -- .
        OUTPUT_FILE "${diff}" ERROR_QUIET)
    file(SHA256 "${diff}" changes)
    file(SIZE "${diff}" size)
    file(REMOVE "${diff}")
    git(names "${SOURCES}" -c core.quotePath=false ls-files --others --exclude-standard -- .)
    string(REPLACE "\n" ";" names "${names}")
    foreach(name IN LISTS names)
        set(sha256 "")
        if(EXISTS "${SOURCES}/${name}" AND NOT IS_DIRECTORY "${SOURCES}/${name}")
            file(SHA256 "${SOURCES}/${name}" sha256)
        endif()
        string(APPEND changes "\n${name}\n${sha256}")
    endforeach()
    if(size GREATER 0 OR names)
        string(SHA256 digest "${changes}")
        string(SUBSTRING "${digest}" 0 12 HOTPIN_DIRTY)
    endif()
endif()

set(HOTPIN_IDF_COMMIT "")
if(IDF)
    find_commit(HOTPIN_IDF_COMMIT "${IDF}" CMakeLists.txt)
endif()

configure_file("${CMAKE_CURRENT_LIST_DIR}/build_commit.h.in" "${OUT}" @ONLY)
