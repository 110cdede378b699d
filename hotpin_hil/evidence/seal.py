"""Seals a folder: SHA256SUMS lists the hash of every file and link in it, and a later check names each change.

A line for a file has the format of `sha256sum`, so `sha256sum -c SHA256SUMS` checks the files too. A link has a comment
line with the hash of its target path, because `sha256sum` would follow the link. For each content of a folder exactly
one manifest text is valid, so a changed byte in the manifest itself is found as well.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.results import is_being_written

MANIFEST = "SHA256SUMS"
SIGNATURES = tuple(
    f"{MANIFEST}{suffix}" for suffix in (".minisig", ".asc", ".sig", ".pem", ".bundle", ".sigstore.json")
)
"""Names of files with a signature of the manifest. They are added after sealing; the signing tool checks them."""

_CHUNK = 1 << 20
_LINE = re.compile(rb"(# link )?(\\?)([0-9a-f]{64})  (.+)", re.DOTALL)
_ESCAPES = {b"\\": rb"\\", b"\n": rb"\n", b"\r": rb"\r"}
"""Characters of a name that `sha256sum` escapes; the line then begins with a backslash."""


@dataclass(frozen=True)
class Sum:
    """Hash of the content of a file, or of the target path of a link."""

    sha256: str
    is_link: bool = False


@dataclass(frozen=True)
class Difference:
    """A difference between a folder and its manifest."""

    what: str
    """"changed", "missing", "added" or "unreadable"."""
    name: str
    """Path in the folder, as `os.fsdecode` gives it."""


def seal(folder: Path) -> int:
    """Write the manifest of a folder.

    Returns:
        The number of files and links that it lists.

    Raises:
        UsageError: The folder has a manifest, is empty, is being written, or cannot be read or written.
    """
    path = folder / MANIFEST
    if os.path.lexists(path):
        raise UsageError(f"{folder} is already sealed", f"to seal it again, remove {path} and its signatures")
    if is_being_written(folder):
        raise UsageError(f"a run is writing its evidence to {folder}", "wait for the end of the run")
    sums = {}
    for name, entry in _entries(folder):
        try:
            sums[name] = _sum(entry)
        except OSError as error:
            raise UsageError(
                f"{os.fsdecode(entry)} cannot be sealed: {error.strerror}", "make it readable, or remove it"
            ) from error
    if not sums:
        raise UsageError(f"{folder} has no file to seal", "give the folder of a run")
    try:
        with path.open("xb") as file:
            file.write(_manifest(sums))
    except OSError as error:
        path.unlink(missing_ok=True)  # with only part of a manifest, every file would count as added
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            "make sure that the folder is writable and has space",
        ) from error
    return len(sums)


def verify(folder: Path) -> list[Difference]:
    """Compare a folder with its manifest.

    Returns:
        The differences, by name; empty if nothing was changed since the folder was sealed.

    Raises:
        UsageError: The folder has no manifest, or the folder or the manifest cannot be read.
    """
    path = folder / MANIFEST
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{folder} has no {MANIFEST}", f"seal it first: hotpin-hil seal {folder}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "make it readable") from error
    sealed = _sums(written)
    is_altered = written != _manifest(sealed)
    differences = [Difference("changed", MANIFEST)] if is_altered else []
    found = set()
    for name, entry in _entries(folder):
        found.add(name)
        what = "added" if name not in sealed else _change(entry, sealed[name])
        if what:
            differences.append(Difference(what, os.fsdecode(name)))
    differences += [Difference("missing", os.fsdecode(name)) for name in sealed.keys() - found]
    return sorted(differences, key=lambda difference: os.fsencode(difference.name))


def links_out(folder: Path) -> list[tuple[str, str]]:
    """Name and target of each link to a place outside the folder. No manifest covers the content of such a place.

    Raises:
        UsageError: the folder cannot be read.
    """
    inside = folder.resolve()
    found = []
    for name, entry in _entries(folder):
        if os.path.islink(entry) and not Path(os.fsdecode(entry)).resolve().is_relative_to(inside):
            found.append((os.fsdecode(name), os.fsdecode(os.readlink(entry))))
    return found


def _entries(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Relative name and path of each file and link that the manifest lists.

    Names are bytes, since a name need not be valid UTF-8.
    """
    skipped = {os.fsencode(name) for name in (MANIFEST, *SIGNATURES)}
    root = os.fsencode(folder)

    def refuse(error: OSError) -> None:
        raise UsageError(
            f"cannot read the folder {os.fsdecode(error.filename)}: {error.strerror}",
            "give a folder that exists, and make it readable",
        ) from error

    for parent, folders, files in os.walk(root, onerror=refuse):
        for base in [*files, *(each for each in folders if os.path.islink(os.path.join(parent, each)))]:
            path = os.path.join(parent, base)
            name = os.path.relpath(path, root)
            if name not in skipped:
                yield name, path


def _sum(path: bytes) -> Sum:
    """Hash a file or a link.

    Raises:
        OSError: It cannot be read, or is a pipe, a socket or a device.
    """
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return Sum(hashlib.sha256(os.readlink(path)).hexdigest(), is_link=True)
    if not stat.S_ISREG(mode):
        raise OSError(0, "it is neither a file nor a link")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return Sum(digest.hexdigest())


def _change(entry: bytes, sealed: Sum) -> str:
    """The change to a sealed file or link; empty if there is none."""
    try:
        return "" if _sum(entry) == sealed else "changed"
    except OSError:
        return "unreadable"


def _manifest(sums: Mapping[bytes, Sum]) -> bytes:
    lines = []
    for name, found in sorted(sums.items()):
        escaped = re.sub(rb"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
        mark = b"\\" if escaped != name else b""
        start = b"# link " if found.is_link else b""
        lines.append(start + mark + found.sha256.encode() + b"  " + escaped + b"\n")
    return b"".join(lines)


def _sums(manifest: bytes) -> dict[bytes, Sum]:
    """The entries of a manifest. Invalid lines are skipped; they make the manifest differ from its only valid text."""
    plain = {escape: char for char, escape in _ESCAPES.items()}
    sums = {}
    for line in manifest.split(b"\n"):
        match = _LINE.fullmatch(line)
        if match is not None:
            link, mark, sha256, name = match.groups()
            if mark:
                name = re.sub(rb"\\.", lambda found: plain.get(found[0], found[0]), name)
            sums[name] = Sum(sha256.decode(), is_link=link is not None)
    return sums
