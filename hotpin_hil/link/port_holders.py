"""Finds the processes on the host that have a serial port open."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import grp
    import pwd
except ImportError:  # not on Windows
    grp = pwd = None  # type: ignore[assignment]

PROC = Path("/proc")
COMMAND_MAX = 60


def holders(port: str) -> list[str]:
    """Processes that have the port open, as `pid 123 (picocom /dev/ttyUSB0)`; only root sees other users' processes."""
    try:
        device = os.stat(port)
    except OSError:
        return []
    found = []
    for process in PROC.glob("[0-9]*"):
        if process.name != str(os.getpid()) and _has_open(process, device):
            found.append(f"pid {process.name}{_command(process)}")
    return sorted(found)


def _has_open(process: Path, device: os.stat_result) -> bool:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # the process has ended, or belongs to another user
        return False
    for descriptor in descriptors:
        try:
            status = descriptor.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (device.st_dev, device.st_ino):
            return True
    return False


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
    return f" ({words if len(words) <= COMMAND_MAX else words[: COMMAND_MAX - 3] + '...'})" if words else ""


def permission_remedy(port: str) -> str:
    """Remedy for a port that the user may not open: join its group, or install a udev rule for all boards."""
    udev = "or install the udev rule of docs/bench.md"
    try:
        status = os.stat(port)
        group = grp.getgrgid(status.st_gid).gr_name if grp else ""
        user = pwd.getpwuid(os.getuid()).pw_name if pwd else ""
    except (OSError, KeyError):
        group = user = ""
    if not group or group == "root":
        # udev did not assign the port to the serial group; joining root's group would grant far too much.
        return "install the udev rule of docs/bench.md, then plug the board in again"
    return f"sudo usermod -aG {group} {user or '$USER'}, then log in again; {udev}"
