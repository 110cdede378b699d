"""Tests the choice of the ELF file for decoding a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.symbols.elf_set import ElfSet
from hotpin_hil.symbols.firmware_elf import read_elf
from hotpin_hil.symbols.machine import Machine
from tests.support.xtensa_elf import write_elf

CODE = range(0x400D0020, 0x400D1000)


def elf(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_elf(path, idf=version, code=CODE)


def test_elf_with_the_printed_hash_is_chosen_from_a_folder(tmp_path: Path) -> None:
    elf(tmp_path / "old" / "app.elf", "v5.4")
    new = elf(tmp_path / "new" / "app.elf", "v5.5")
    (tmp_path / "new" / "core.elf").write_bytes(b"\x7fELF, damaged")
    sha = read_elf(new).sha256
    decoder, remark = ElfSet([tmp_path]).choose(f"{sha[:9]}...", Machine.XTENSA)
    assert decoder is not None
    assert decoder.elf.path == new
    assert (remark.elf, remark.sha256, remark.is_match) == (str(new), sha, True)


@pytest.mark.parametrize("printed", ["123456789", ""])
def test_no_other_elf_is_chosen_among_several(tmp_path: Path, printed: str) -> None:
    paths = [elf(tmp_path / f"{version}.elf", version) for version in ("v5.4", "v5.5")]
    for elfs in (ElfSet(paths), ElfSet([tmp_path])):
        decoder, remark = elfs.choose(printed, None)
        assert decoder is None
        assert remark.text.startswith("not decoded: the log ")
        for path in paths:
            assert f"{path.name} ({read_elf(path).sha256[:9]})" in remark.text
        assert printed in remark.text


def test_single_elf_of_another_build_is_used_with_a_warning_that_names_both(tmp_path: Path) -> None:
    path = elf(tmp_path / "app.elf", "v5.5")
    sha = read_elf(path).sha256
    decoder, remark = ElfSet([path]).choose("123456789...", Machine.XTENSA)
    assert decoder is not None
    assert remark.text.startswith("WARNING: the log is from ELF 123456789,")
    assert sha[:9] in remark.text
    assert remark.is_match is False


def test_single_elf_is_used_for_a_log_without_hash(tmp_path: Path) -> None:
    path = elf(tmp_path / "app.elf", "v5.5")
    decoder, remark = ElfSet([path]).choose("", None)
    assert decoder is not None
    assert "the match is not checked" in remark.text
    assert remark.is_match is None


def test_elf_for_another_architecture_is_not_used(tmp_path: Path) -> None:
    path = elf(tmp_path / "app.elf", "v5.5")
    for printed in ("", "123456789"):
        decoder, remark = ElfSet([path]).choose(printed, Machine.RISCV)
        assert decoder is None
        assert "is for Xtensa, the log is from RISC-V" in remark.text


def test_folder_without_elf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.elf").write_text("no ELF")
    with pytest.raises(UsageError, match="has no firmware ELF file"):
        ElfSet([tmp_path])
    with pytest.raises(UsageError, match="is not an ELF file"):
        ElfSet([tmp_path / "app.elf"])


def test_core_dump_is_matched_by_the_hash_in_it(tmp_path: Path) -> None:
    paths = [elf(tmp_path / f"{version}.elf", version) for version in ("v5.4", "v5.5")]
    sha = read_elf(paths[1]).sha256
    found, why = ElfSet(paths).for_core_dump(b"\0\0" + sha[:9].encode() + b"\0")
    assert (found and found.path, why) == (paths[1], "")
    found, why = ElfSet(paths).for_core_dump(b"123456789")
    assert found is None
    assert why.startswith("not decoded: ")
    found, _ = ElfSet(paths[:1]).for_core_dump(b"123456789")
    assert found is not None
