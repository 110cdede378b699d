"""Tests the manifest of a sealed folder: each change must be detected and reported, for any file names and content."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.cli import main as cli
from hotpin_hil.errors import UsageError
from hotpin_hil.evidence import seal as sealing
from hotpin_hil.evidence.lines import RunLine
from hotpin_hil.evidence.results import ResultsWriter
from hotpin_hil.evidence.seal import MANIFEST, Difference, links_out, seal, verify
from tests.evidence.test_evidence import RUN

ODD_NAMES = (
    "two words.log",
    "line\nbreak",
    "back\\slash",
    "carriage\rreturn",
    "*star",
    "λ.txt",
    "-dash",
    " blank ",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with a file for each odd name, and links to a file, to a folder, and to a missing target."""
    folder = tmp_path / "run"
    (folder / "logs").mkdir(parents=True)
    for number, name in enumerate(ODD_NAMES):
        (folder / "logs" / name).write_text(f"log {number}\n")
    (folder / "logs" / os.fsdecode(b"not-\xff-utf8")).write_text("x")
    (folder / "empty").touch()
    (folder / "results.jsonl").write_text('{"kind":"run"}\n')
    for name, target in (("to-file", "results.jsonl"), ("to-folder", "logs"), ("to-nothing", "gone")):
        (folder / name).symlink_to(target)
    assert seal(folder) == len(ODD_NAMES) + 6
    return folder


def test_unchanged_folder_has_no_difference(folder: Path) -> None:
    assert verify(folder) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_reads_the_manifest(folder: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", MANIFEST]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0
    (folder / "logs" / "line\nbreak").write_text("other")
    assert subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 1


def flips(path: Path) -> Iterator[str]:
    """Flip one bit of each byte of a file, one byte at a time, and restore the byte before the next."""
    content = path.read_bytes()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        yield f"byte {at} of {path.name}"
    path.write_bytes(content)


def test_each_flipped_byte_is_found(folder: Path) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]:
        name = os.fsdecode(path.relative_to(folder))
        if name != MANIFEST:
            assert all(verify(folder) == [Difference("changed", name)] for _ in flips(path)), name
    assert verify(folder) == []


def test_each_flipped_byte_of_the_manifest_is_found(tmp_path: Path) -> None:
    (tmp_path / "line\nbreak").write_text("x")
    (tmp_path / "plain").write_text("y")
    (tmp_path / "link").symlink_to("plain")
    seal(tmp_path)
    for flip in flips(tmp_path / MANIFEST):
        assert verify(tmp_path), flip
    path = tmp_path / MANIFEST
    path.write_bytes(path.read_bytes().upper())
    assert Difference("changed", MANIFEST) in verify(tmp_path)


@pytest.mark.parametrize("change", [b"\n", b"# a comment\n", b"# link 00  x\n"])
def test_line_added_to_the_manifest_is_found(folder: Path, change: bytes) -> None:
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes() + change)
    assert verify(folder) == [Difference("changed", MANIFEST)]


def test_changed_missing_and_added_are_named(folder: Path) -> None:
    (folder / "empty").write_text("x")
    (folder / "logs" / "two words.log").unlink()
    (folder / "logs" / "late").touch()
    (folder / "to-file").unlink()
    # replaces the link with a copy of its target
    (folder / "to-file").write_text((folder / "results.jsonl").read_text())
    (folder / "to-folder").unlink()
    (folder / "to-folder").symlink_to("elsewhere")
    assert verify(folder) == [
        Difference("changed", "empty"),
        Difference("added", "logs/late"),
        Difference("missing", "logs/two words.log"),
        Difference("changed", "to-file"),
        Difference("changed", "to-folder"),
    ]


def test_file_of_several_chunks_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_CHUNK", 64)
    (tmp_path / "big").write_bytes(b"x" * 1_000)
    seal(tmp_path)
    (tmp_path / "big").write_bytes(b"x" * 999 + b"y")
    assert verify(tmp_path) == [Difference("changed", "big")]


def test_signature_of_the_manifest_is_no_addition(folder: Path) -> None:
    (folder / f"{MANIFEST}.minisig").write_text("signature")
    assert verify(folder) == []
    (folder / "logs" / f"{MANIFEST}.minisig").touch()
    assert verify(folder) == [Difference("added", f"logs/{MANIFEST}.minisig")]


def test_links_out_of_the_folder_are_named(folder: Path) -> None:
    assert links_out(folder) == []
    (folder / "out").symlink_to("../other")
    assert links_out(folder) == [("out", "../other")]


def test_folder_that_cannot_be_sealed_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is already sealed"):
        seal(folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="has no file to seal"):
        seal(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"cannot read the folder .*gone: No such file"):
        seal(tmp_path / "gone")
    with pytest.raises(UsageError, match="nothing has no SHA256SUMS"):
        verify(tmp_path / "nothing")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "fifo")
    with pytest.raises(UsageError, match="fifo cannot be sealed: it is neither a file nor a link"):
        seal(tmp_path / "pipe")
    assert not (tmp_path / "pipe" / MANIFEST).exists()


def test_pipe_in_place_of_a_file_is_named(folder: Path) -> None:
    (folder / "empty").unlink()
    os.mkfifo(folder / "empty")
    assert verify(folder) == [Difference("unreadable", "empty")]


def test_running_run_is_not_sealed(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path, RunLine.from_json(RUN))
    with pytest.raises(UsageError, match="a run is writing"):
        seal(tmp_path)
    writer.close()
    seal(tmp_path)


def test_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: unchanged since it was sealed\n"
    (folder / MANIFEST).unlink()
    (folder / "out").symlink_to("/")
    assert cli.main(["seal", str(folder)]) == 0
    assert capsys.readouterr().out == (
        f"{folder}/{MANIFEST}: {len(ODD_NAMES) + 7} files and links\n"
        "not sealed: the content of /, which the link out points to\n"
    )
    (folder / "logs" / "line\nbreak").write_text("other")
    (folder / f"{MANIFEST}.asc").touch()
    assert cli.main(["verify", str(folder)]) == 1
    assert capsys.readouterr().out == (
        "changed: logs/line\\nbreak\n"
        f"not checked: {MANIFEST}.asc (check it with the tool that made it)\n"
        f"{folder}: 1 difference from {MANIFEST}\n"
    )
