"""The heap model's C library for ctypes: the functions and structures of `esp_heap_model.h`."""

from __future__ import annotations

import ctypes as ct
import os
from functools import cache
from pathlib import Path
from typing import Any

from hotpin_hil.errors import BuildError
from hotpin_hil.paths import NATIVE_BUILD_DIR

LIBRARY_NAME = "libesp_heap.so"
LIBRARY_ENV = "HOTPIN_HEAP_LIB"


class CFigures(ct.Structure):
    _fields_ = [
        ("free_bytes", ct.c_uint32),
        ("allocated_bytes", ct.c_uint32),
        ("largest_free_block", ct.c_uint32),
        ("minimum_free_bytes", ct.c_uint32),
        ("allocated_blocks", ct.c_uint32),
        ("free_blocks", ct.c_uint32),
        ("total_blocks", ct.c_uint32),
    ]


class CDescription(ct.Structure):
    _fields_ = [
        ("start", ct.c_uint32),
        ("length", ct.c_uint32),
        ("type", ct.c_int),
        ("caps", ct.c_uint32 * 3),
    ]


class CBlock(ct.Structure):
    _fields_ = [
        ("heap_start", ct.c_uint32),
        ("heap_end", ct.c_uint32),
        ("address", ct.c_uint32),
        ("size", ct.c_uint32),
        ("used", ct.c_bool),
    ]


WALKER = ct.CFUNCTYPE(ct.c_bool, ct.POINTER(CBlock), ct.c_void_p)
BACKING_PRIVATE = 1
STATUS_TEXT = {
    1: "is not in any heap",
    2: "is a block that is already free",
    3: "is not the start of a block, or the block's header was overwritten",
}

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "heap_system_create": (ct.c_void_p, [ct.c_int]),
    "heap_system_destroy": (None, [ct.c_void_p]),
    "heap_system_error": (ct.c_char_p, [ct.c_void_p]),
    "heap_system_fault": (ct.c_char_p, [ct.c_void_p]),
    "heap_system_boot_line": (ct.c_bool, [ct.c_void_p, ct.c_char_p, ct.c_char_p]),
    "heap_system_boot_block": (ct.c_uint32, [ct.c_void_p, ct.c_char_p, ct.c_uint32]),
    "heap_system_add_heap": (ct.c_bool, [ct.c_void_p, ct.c_uint32, ct.c_uint32, ct.c_int]),
    "heap_system_add_region": (ct.c_bool, [ct.c_void_p, ct.c_uint32, ct.c_uint32, ct.c_int]),
    "heap_system_reserve_pool": (ct.c_bool, [ct.c_void_p, ct.c_uint32, ct.c_bool, ct.c_bool]),
    "heap_system_add_recorded": (
        ct.c_bool,
        [ct.c_void_p, ct.c_uint32, ct.c_uint32, ct.c_int, ct.POINTER(CBlock), ct.c_uint32],
    ),
    "heap_type_at": (ct.c_int, [ct.c_uint32]),
    "heap_type_name": (ct.c_char_p, [ct.c_int]),
    "heap_type_from_name": (ct.c_bool, [ct.c_char_p, ct.POINTER(ct.c_int)]),
    "heap_cap_name": (ct.c_char_p, [ct.c_uint32]),
    "heap_caps_from_names": (ct.c_bool, [ct.c_char_p, ct.POINTER(ct.c_uint32)]),
    "heap_system_malloc": (ct.c_uint32, [ct.c_void_p, ct.c_uint32, ct.c_uint32]),
    "heap_system_aligned_alloc": (ct.c_uint32, [ct.c_void_p, ct.c_uint32, ct.c_uint32, ct.c_uint32]),
    "heap_system_realloc": (ct.c_uint32, [ct.c_void_p, ct.c_uint32, ct.c_uint32, ct.c_uint32]),
    "heap_system_free": (ct.c_int, [ct.c_void_p, ct.c_uint32]),
    "heap_system_status": (ct.c_int, [ct.c_void_p, ct.c_uint32]),
    "heap_system_allocated_size": (ct.c_uint32, [ct.c_void_p, ct.c_uint32]),
    "heap_system_figures": (None, [ct.c_void_p, ct.c_uint32, ct.POINTER(CFigures)]),
    "heap_system_total_size": (ct.c_uint32, [ct.c_void_p, ct.c_uint32]),
    "heap_system_count": (ct.c_uint32, [ct.c_void_p]),
    "heap_system_describe": (
        ct.c_bool,
        [ct.c_void_p, ct.c_uint32, ct.POINTER(CDescription), ct.POINTER(CFigures)],
    ),
    "heap_system_reset_minimum": (ct.c_uint32, [ct.c_void_p, ct.c_uint32]),
    "heap_system_lower_minimum": (None, [ct.c_void_p, ct.c_uint32, ct.c_uint32]),
    "heap_system_walk": (None, [ct.c_void_p, ct.c_uint32, WALKER, ct.c_void_p]),
    "heap_system_check": (ct.c_bool, [ct.c_void_p, ct.c_uint32]),
    "heap_system_host": (ct.c_void_p, [ct.c_void_p, ct.c_uint32]),
    "heap_single_malloc": (ct.c_uint32, [ct.c_void_p, ct.c_uint32, ct.c_uint32]),
    "heap_single_aligned_alloc": (ct.c_uint32, [ct.c_void_p, ct.c_uint32, ct.c_uint32, ct.c_uint32]),
    "heap_single_realloc": (ct.c_uint32, [ct.c_void_p, ct.c_uint32, ct.c_uint32, ct.c_uint32]),
    "heap_single_free": (ct.c_int, [ct.c_void_p, ct.c_uint32, ct.c_uint32]),
}


def library_path() -> Path:
    """Path of the model's shared library; `HOTPIN_HEAP_LIB` overrides the firmware's host build."""
    override = os.environ.get(LIBRARY_ENV)
    return Path(override) if override else NATIVE_BUILD_DIR / LIBRARY_NAME


@cache
def _load(path: Path) -> ct.CDLL:
    if not path.is_file():
        raise BuildError(
            f"the heap model {path} is not built",
            "build it: make native",
        )
    try:
        loaded = ct.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise BuildError(
            f"the heap model {path} can't be used: {error}", "build it again for this machine"
        ) from error
    return loaded


def library() -> ct.CDLL:
    """The library, loaded once. Raises BuildError if it is not built or not for this machine."""
    return _load(library_path())
