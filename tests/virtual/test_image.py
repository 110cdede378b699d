"""Tests the images of app, bootloader and partition table that the build creates for flashing."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import threading
from pathlib import Path

import pytest
from esptool.bin_image import ESP32FirmwareImage
from hypothesis import given
from hypothesis import strategies as st
from pytest_embedded_idf.app import IdfApp

from hotpin_hil.errors import BuildError, UsageError
from hotpin_hil.virtual import image, package, partition

ELF = b"\x7fELF" + bytes(range(256)) * 300
INFO = image.BuildInfo("hotpin", "1.2", "Nov 22 2026", "08:28:16")
CSV = """# Name, Type, SubType, Offset, Size, Flags
nvs,      data, nvs,      0x9000,  0x6000,
phy_init, data, phy,      ,        4K,
factory,  app,  factory,  ,        1M,
store,    data, 0x40,     ,        0x5000, encrypted:readonly
coredump, data, coredump, 0x200000, -0x210000
"""
# SHA-256 of the output of ESP-IDF v5.4's gen_esp32part.py for that CSV.
CSV_BINARY_SHA256 = "96d30ff58c6e1da4931ed689f59246143c526f9a8242159a46494ac1248cbfb9"


def test_app_image_is_valid_for_esptool() -> None:
    read = ESP32FirmwareImage(io.BytesIO(image.pack_app(ELF, INFO, image.FlashSettings())))
    assert read.checksum == read.calculate_checksum()
    assert read.stored_digest == read.calc_digest
    assert (read.chip_id, read.flash_mode, read.flash_size_freq) == (0, 2, 0x20)


def test_app_image_holds_the_elf_hash_where_idf_tools_read_it() -> None:
    packed = image.pack_app(ELF, INFO, image.FlashSettings())
    assert packed[0xB0 : 0xB0 + 32] == hashlib.sha256(ELF).digest()
    descriptor = image.parse_app_descriptor(packed[0x20:])
    assert descriptor == image.FlashedApp("hotpin", "1.2", hashlib.sha256(ELF).hexdigest())


@given(st.binary(max_size=5000))
def test_elf_survives_packing(body: bytes) -> None:
    elf = b"\x7fELF" + body
    packed = image.pack_app(elf, INFO, image.FlashSettings())
    length = image.SEGMENT_HEADER.unpack(packed[24:32])[1]
    assert image.unpack_elf(packed[32 : 32 + length]) == elf


def test_damaged_elf_in_an_image_is_refused() -> None:
    segment = image.pack_app(ELF, INFO, image.FlashSettings())[32:]
    assert image.unpack_elf(segment[: image.APP_DESCRIPTOR.size + image.CARGO.size + len(ELF) - 1]) is None
    assert image.unpack_elf(segment.replace(image.CARGO_MARK, b"SOMETHING-OTHER\0")) is None
    assert image.unpack_elf(b"short") is None


def test_image_that_no_chip_can_map_or_run_is_refused() -> None:
    with pytest.raises(BuildError, match="not an ELF"):
        image.pack_app(b"MZ" + ELF, INFO, image.FlashSettings())
    with pytest.raises(BuildError, match="more than the chip can map"):
        image.pack_app(ELF + bytes(4 << 20), INFO, image.FlashSettings())
    with pytest.raises(BuildError, match="flash size '3MB'"):
        image.FlashSettings(size="3MB")


@given(st.binary(max_size=700))
def test_folded_checksum_equals_the_byte_by_byte_one(data: bytes) -> None:
    expected = 0
    for byte in data:
        expected ^= byte
    assert image.xor_bytes(data) == expected


def test_partition_table_equals_idfs() -> None:
    table = partition.to_binary(partition.parse_csv(CSV))
    assert hashlib.sha256(table).hexdigest() == CSV_BINARY_SHA256


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a, data, nvs, 0x8000, 4K", "overlaps: the partition table itself ends at 0x9000"),
        ("a, data, nvs, , 4K\nb, data, nvs, 0x9000, 4K", "line 2: .*overlaps: partition 'a' ends at 0xa000"),
        ("a, app, factory, 0x11000, 4K", "not a multiple of 0x10000"),
        ("a, data, nvs, 0x9001, 4K", "not a multiple of 0x1000"),
        ("a, app, factory, , 0x1001", "size 0x1001 .*not a multiple"),
        ("a, data, nvs, ,", "size is empty"),
        ("a, , nvs, , 4K", "type is empty"),
        ("a, app, , , 4K", "needs a subtype"),
        ("a, data, nfs, , 4K", "subtype 'nfs' is not valid .*nvs"),
        ("a, data, nvs, , 4Q", "size '4Q' is not valid"),
        ("a, data, nvs, , 0", "size 0x0 .*not positive"),
        ("a, data, nvs, , 4K, secret", "unknown flag 'secret'"),
        ("a, data, coredump, , 4K, readonly", "must be writable"),
        ("a, data, ota, , 4K", "must have size 0x2000"),
        ("a, data, nvs, , 4K\na, data, nvs, , 4K", "used twice"),
        ("seventeen_letters, data, nvs, , 4K", "longer than 16 bytes"),
        (", data, nvs, , 4K", "name is empty"),
        ("a, data, ota, , 8K\nb, data, ota, , 8K", "more than one otadata"),
    ],
)
def test_wrong_partition_table_is_refused_with_line_and_reason(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        partition.parse_csv(line)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "fw.elf").write_bytes(ELF)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/sdkconfig.json").write_text(json.dumps({"IDF_TARGET": "esp32"}))
    (tmp_path / "partitions.csv").write_text(CSV)
    return tmp_path


def run_package(folder: Path, *more: str) -> int:
    files = ["--elf", f"{folder}/fw.elf", "--sdkconfig", f"{folder}/config/sdkconfig.json"]
    names = ["--partitions", f"{folder}/partitions.csv", "--project", "hotpin", "--version", "1.2"]
    return package.main([*files, *names, "--out", str(folder), *more])


def test_package_is_a_build_to_pytest_embedded(sources: Path) -> None:
    registry = sources / "elfs.txt"
    assert run_package(sources, "--registry", str(registry)) == 0
    app = IdfApp(str(sources), str(sources))
    assert app.target == "esp32"
    assert [(file.offset, Path(file.file_path).name) for file in app.flash_files] == [
        (0x1000, "bootloader.bin"),
        (0x8000, "partition-table.bin"),
        (0x10000, "hotpin.bin"),
    ]
    assert Path(app.bin_file).name == "hotpin.bin"
    assert Path(app.elf_file).name == "fw.elf"
    assert app.flash_args["write_flash_args"] == [
        *("--flash_mode", "dio", "--flash_size", "4MB", "--flash_freq", "40m")
    ]
    assert registry.read_text() == hashlib.sha256(ELF).hexdigest() + "\n"


def test_flashed_program_without_debug_information_has_the_elfs_identity(sources: Path) -> None:
    registry, program = sources / "elfs.txt", sources / "stripped.elf"
    program.write_bytes(ELF[:-4])
    assert run_package(sources, "--registry", str(registry), "--program", str(program)) == 0
    packed = (sources / "hotpin.bin").read_bytes()
    length = image.SEGMENT_HEADER.unpack(packed[24:32])[1]
    app = image.parse_app_descriptor(packed[32:])
    digests = [hashlib.sha256(content).hexdigest() for content in (ELF, ELF[:-4])]
    assert image.unpack_elf(packed[32 : 32 + length]) == ELF[:-4]
    assert app is not None
    assert app.elf_sha256 == digests[0]
    assert registry.read_text().split() == digests


def test_packing_again_changes_nothing(sources: Path) -> None:
    registry = ["--registry", str(sources / "elfs.txt")]
    assert run_package(sources, *registry) == 0
    before = {file: file.stat().st_mtime_ns for file in sources.rglob("*") if file.is_file()}
    assert run_package(sources, *registry) == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_app_that_does_not_fit_its_partition_is_named(
    sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sources / "fw.elf").write_bytes(ELF + bytes(1 << 20))
    assert run_package(sources, "--registry", str(sources / "elfs.txt")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "partition 'factory' only 1048576 (enlarge it in partitions.csv)" in error
    assert not (sources / "elfs.txt").exists()


def test_missing_build_is_a_one_line_error(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sources / "fw.elf").unlink()
    assert run_package(sources) == 1
    assert "No such file" in capsys.readouterr().err


def test_concurrent_registration_loses_and_doubles_no_build(tmp_path: Path) -> None:
    registry = tmp_path / "build" / "elfs.txt"
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(20)]

    def register() -> None:
        for sha256 in hashes:
            package.register_elf(sha256, registry)

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(registry.read_text().split()) == sorted(hashes)
    with registry.open() as held:  # another build has locked the folder
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=package.register_elf, args=("f" * 64, registry))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join()
    assert package.is_registered("f" * 64, registry)
    assert package.is_registered(hashes[3], registry)
    assert not package.is_registered("0" * 64, registry)
