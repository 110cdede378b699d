"""Compiles the firmware's pure C files for the host and loads them with cffi.

A pure file includes no IDF header except esp_err.h and esp_attr.h; a file that includes more does not compile
here. Undefined behaviour ends the process with a report; HOTPIN_C_SANITIZE=address,undefined
(with libasan preloaded, see test_c_sanitizers.py) also checks memory accesses.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cffi import FFI

from hotpin_hil.paths import BUILD_DIR, FIRMWARE_DIR

COMPONENTS = FIRMWARE_DIR / "components"
SANITIZE = os.environ.get("HOTPIN_C_SANITIZE", "undefined")
COVERAGE = ["--coverage", "-fprofile-update=atomic"] if os.environ.get("HOTPIN_COVERAGE") else []
"""gcc's flags for counting executed lines, as set by the option HOTPIN_COVERAGE of firmware/native."""

ESP_ERR_STUB = """\
#pragma once
typedef int esp_err_t;
#define ESP_OK 0
#define ESP_FAIL -1
#define ESP_ERR_NO_MEM 0x101
#define ESP_ERR_INVALID_ARG 0x102
#define ESP_ERR_INVALID_STATE 0x103
#define ESP_ERR_INVALID_SIZE 0x104
#define ESP_ERR_NOT_FOUND 0x105
"""
ESP_ATTR_STUB = """\
#pragma once
#define IRAM_ATTR
#define DRAM_ATTR
"""
_STANDARD_HEADERS = ("stdbool.h", "stddef.h", "stdint.h", "string.h")


class CModule:
    """A compiled module: `lib` contains the functions, `new()` allocates C objects, `const()` reads macros."""

    def __init__(self, ffi: FFI, lib: Any, macros: dict[str, str]) -> None:
        self.ffi = ffi
        self.lib = lib
        self._macros = macros
        # Not from Python's allocator, because AddressSanitizer cannot detect the end of a buffer in that allocator's
        # pools.
        self.new = ffi.new_allocator(alloc=lib.malloc, free=lib.free, should_clear_after_alloc=True)

    def const(self, name: str) -> int:
        """The value of a macro that expands to an integer expression."""
        text = self._macros[name]
        for _ in range(10):
            text = re.sub(r"[A-Za-z_]\w*", lambda found: self._macros.get(found[0], found[0]), text)
        return int(eval(re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text), {"__builtins__": {}}))


def compiler() -> str:
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise RuntimeError("no C compiler found; install gcc or clang, or set CC")


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def _write(path: Path, text: str) -> None:
    """Write a file atomically, because another process may be building the same module and reading the file."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def build(
    name: str, sources: Sequence[str], headers: Sequence[str], extra_source: str = "", extra_cdef: str = ""
) -> CModule:
    """Compiles sources (paths under firmware/components) into a module with all declarations of the given headers.

    headers: names as in the sources' #include lines.
    extra_source: additional C code; extra_cdef declares it.
    """
    files = [COMPONENTS / source for source in sources]
    used = {"common", *(s.split("/")[0] for s in sources)}
    include_dirs = sorted({f.parent for f in files} | {COMPONENTS / name / "include" for name in used})
    texts = [f.read_text() for f in files] + [
        h.read_text() for d in include_dirs for h in sorted(d.glob("*.h"))
    ]
    digest = hashlib.sha256(
        "\0".join(
            [SANITIZE, *COVERAGE, ESP_ERR_STUB, ESP_ATTR_STUB, extra_source, extra_cdef, *headers, *texts]
        ).encode()
    ).hexdigest()
    out_dir = BUILD_DIR / "c-tests" / f"{name}-{digest[:16]}"
    library = out_dir / f"{name}.so"

    stubs, hollow = out_dir / "stubs", out_dir / "hollow"
    for directory in (stubs, hollow):
        directory.mkdir(parents=True, exist_ok=True)
    _write(stubs / "esp_err.h", ESP_ERR_STUB)
    _write(stubs / "esp_attr.h", ESP_ATTR_STUB)
    for header in _STANDARD_HEADERS:
        _write(hollow / header, "")
    unit = out_dir / f"{name}_unit.c"
    _write(unit, "".join(f'#include "{header}"\n' for header in headers))
    extra = out_dir / f"{name}_extra.c"
    _write(extra, unit.read_text() + extra_cdef + extra_source)

    cc = compiler()
    includes = [f"-I{directory}" for directory in (*include_dirs, stubs)]
    if not library.exists():
        flags = ["-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread"]
        sanitize = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
        temporary = out_dir / f"{os.getpid()}.so"
        _run(
            [cc, *flags, *sanitize, *COVERAGE, *includes, str(extra), *map(str, files), "-o", str(temporary)]
        )
        temporary.replace(library)  # atomic, because another process may build the same module

    # Preprocess with empty standard headers: cffi has the standard types built in, but cannot parse the C library's
    # headers.
    declarations = _run([cc, "-E", "-P", f"-I{hollow}", *includes, str(unit)])
    macros = dict(
        found.groups(default="")
        for found in re.finditer(
            r"^#define (\w+)(?: (.*))?$", _run([cc, "-E", "-dM", f"-I{hollow}", *includes, str(unit)]), re.M
        )
    )
    ffi = FFI()
    ffi.cdef(declarations + extra_cdef + "void *malloc(size_t); void free(void *);")
    return CModule(ffi, ffi.dlopen(str(library)), macros)
