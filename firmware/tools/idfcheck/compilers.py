"""Compilers that are not the ESP32's toolchain, with flags that make them check C code as it does."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# ESP-IDF's warning flags and definitions (tools/cmake/build.cmake).
FLAGS = (
    "-std=gnu17",
    "-Os",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-sign-compare",
    "-Wno-enum-conversion",
    "-D_GNU_SOURCE",
    "-DESP_PLATFORM",
    '-DIDF_VER="check"',
)

# In the Xtensa toolchain int32_t is long, which makes %u wrong for a uint32_t.
TYPES = (
    "-U__INT32_TYPE__",
    "-D__INT32_TYPE__=long int",
    "-U__UINT32_TYPE__",
    "-D__UINT32_TYPE__=long unsigned int",
)

# Diagnostic to ignore: clang rejects the Xtensa registers in the inline assembly of ESP-IDF's headers.
FOREIGN_ASSEMBLY = re.compile(r"invalid (input|output) constraint '[^']*' in asm")

DIAGNOSTIC = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?(?P<kind>error|warning): (?P<text>.*)$"
)


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning of a compiler."""

    file: Path
    line: int
    text: str

    @property
    def missing_header(self) -> str | None:
        """The header that was not found; None for any other diagnostic."""
        match = re.match(r"'?([^':]+\.h)'?(?: file not found|: No such file or directory)", self.text)
        return match[1] if match else None


@dataclass(frozen=True)
class Compiler:
    """A compiler, with the flags that make it read ESP-IDF's headers as for the ESP32."""

    name: str
    command: tuple[str, ...]
    sees: str
    no_output: tuple[str, ...] = ()

    def check(self, source: Path, includes: Iterable[Path], system: Iterable[Path]) -> list[Diagnostic]:
        """Compiles one source and returns the diagnostics.

        Args:
            source: file to compile.
            includes: this project's include directories.
            system: other include directories; warnings in their headers are ignored.
        """
        done = self._run(source, includes, system, *self.no_output)
        found = [
            Diagnostic(Path(match["file"]), int(match["line"]), match["text"])
            for match in map(DIAGNOSTIC.match, done.stderr.splitlines())
            if match and not FOREIGN_ASSEMBLY.match(match["text"])
        ]
        if done.returncode and "error:" not in done.stderr:
            found.append(Diagnostic(source, 0, f"{self.name} failed: {done.stderr.strip()[:400]}"))
        return found

    def assembly(self, source: Path, includes: Iterable[Path], system: Iterable[Path]) -> str:
        """Returns the assembly of one source, with a separate section per object; empty if it cannot be compiled."""
        done = self._run(source, includes, system, "-o", "-", "-fdata-sections", "-w")
        return "" if done.returncode else done.stdout

    def _run(
        self, source: Path, includes: Iterable[Path], system: Iterable[Path], *more: str
    ) -> subprocess.CompletedProcess[str]:
        command = [*self.command, *FLAGS, *TYPES, *more]
        command += [f"-I{path}" for path in includes]
        command += [part for path in system for part in ("-isystem", str(path))]
        return subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)


def gcc() -> Compiler | None:
    """Returns Debian's GCC for the ESP8266's Xtensa core: the same front end, but no assembler for the ESP32."""
    name = "xtensa-lx106-elf-gcc"
    if shutil.which(name) is None:
        return None
    include = [said(name, f"-print-file-name={item}") for item in ("include", "include-fixed")]
    command = (name, "-S", "-mabi=windowed", "-nostdinc", *(f"-isystem{path}" for path in include))
    return Compiler(name, command, "code, up to the assembler", ("-o", "/dev/null"))


def clang() -> Compiler | None:
    if shutil.which("clang") is None:
        return None
    include = said("clang", "-print-resource-dir") + "/include"
    command = (
        "clang",
        "--target=riscv32-unknown-elf",
        "-fsyntax-only",
        "-ferror-limit=0",
        "-nostdinc",
        "-isystem",
        include,
    )
    machine = (
        "-U__riscv",
        "-U__riscv_xlen",
        "-D__XTENSA__",
        "-D__xtensa__",
        "-D__IEEE_LITTLE_ENDIAN",
        "-Wno-builtin-macro-redefined",
    )
    return Compiler("clang", (*command, *machine), "names, types and formats")


def available() -> list[Compiler]:
    """Returns the compilers installed on this machine. Each finds problems that the other does not."""
    return [compiler for compiler in (gcc(), clang()) if compiler]


def newlib_headers(found: Path, work: Path) -> list[Path]:
    """Returns the directories of the C library's headers: `found`, and an overlay of one header.

    The overlay removes a const that ESP-IDF's own newlib does not have.
    """
    overlay = work / "newlib" / "sys" / "reent.h"
    overlay.parent.mkdir(parents=True, exist_ok=True)
    text = (found / "sys" / "reent.h").read_text(encoding="utf-8")
    overlay.write_text(text.replace("*const _global_impure_ptr", "*_global_impure_ptr"), encoding="utf-8")
    return [overlay.parent.parent, found]


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
