#!/bin/sh
# Builds every configuration of the firmware, and its examples, with ESP-IDF's own build system. `make check-idf` runs
# this script.
set -eu
firmware=$(cd "$(dirname "$0")/.." && pwd)

missing() {
    echo "check-idf: $*" >&2
    exit 1
}

[ -n "${IDF_PATH:-}" ] ||
    missing "IDF_PATH is not set: run '. ~/esp/esp-idf/export.sh' of ESP-IDF v5.4 or v5.5 first (without ESP-IDF: make check-headers)"
[ -f "$IDF_PATH/tools/cmake/version.cmake" ] || missing "IDF_PATH is '$IDF_PATH', which is not a checkout of ESP-IDF"
command -v idf.py >/dev/null || missing "idf.py is not on the path: run '. $IDF_PATH/export.sh' first"
command -v xtensa-esp32-elf-gcc >/dev/null ||
    missing "the ESP32's compiler is not on the path: run '$IDF_PATH/install.sh esp32', then '. $IDF_PATH/export.sh'"

# The configurations defined in CMakeLists.txt, built in the directories listed in README.md.
for configuration in $(sed -n 's/.*(HOTPIN_BUILD STREQUAL "\([a-z-]*\)").*/\1/p' "$firmware/CMakeLists.txt"); do
    directory=build-$configuration
    [ "$configuration" != hil ] || directory=build
    echo "check-idf: building '$configuration' in firmware/$directory"
    idf.py -C "$firmware" -B "$firmware/$directory" -D "HOTPIN_BUILD=$configuration" build ||
        missing "the '$configuration' build failed"
done
for example in "$firmware"/examples/*/; do
    example=${example%/}
    echo "check-idf: building $example"
    idf.py -C "$example" -B "$example/build" build || missing "the build of $example failed"
done
echo "check-idf: every configuration and example builds with $(idf.py --version)"
