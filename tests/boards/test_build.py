"""Tests `hotpin-hil build` for each kind of board, with fake build tools."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from hotpin_hil.boards import build
from hotpin_hil.errors import BuildError

LOG_ARGUMENTS = '#!/bin/sh\necho "$@" >> "$(dirname "$0")/log"\n'


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the fake tools: the only entry of PATH besides the shell's folders. The builds are also written
    there."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    for dirs in ("_HIL_DIRS", "_RELEASE_DIRS", "_PROFILE_DIRS"):
        monkeypatch.setattr(
            build, dirs, {kind: tmp_path / f"{dirs}-{kind}" for kind in ("hardware", "qemu", "virtual")}
        )
    return folder


def add_tool(tools: Path, name: str) -> None:
    (tools / name).write_text(LOG_ARGUMENTS)
    (tools / name).chmod(0o755)


def log(tools: Path) -> list[str]:
    return (tools / "log").read_text().splitlines()


@pytest.mark.parametrize(
    ("kind", "configurations"),
    [("hardware", ("hil", "release", "profile")), ("qemu", ("qemu", "qemu-release", "qemu-profile"))],
)
def test_idf_makes_the_tested_build_the_release_and_the_profile(
    tools: Path, kind: str, configurations: tuple[str, str, str]
) -> None:
    add_tool(tools, "idf.py")
    folder = build.build_firmware(kind)
    assert folder == build.build_dir(kind)
    tested, release, profile = log(tools)
    assert f"-B {build.build_dir(kind)} -DHOTPIN_BUILD={configurations[0]} build" in tested
    assert f"-B {build.release_build_dir(kind)} -DHOTPIN_BUILD={configurations[1]} build" in release
    assert f"-B {build.profile_build_dir(kind)} -DHOTPIN_BUILD={configurations[2]} build" in profile


def test_host_build_makes_all_configurations(tools: Path) -> None:
    add_tool(tools, "cmake")
    build.build_firmware("virtual")
    configured = [line for line in log(tools) if "SDKCONFIG_DEFAULTS" in line]
    options = [line.split("sdkconfig.defaults;")[1].split()[0].split(";") for line in configured]
    assert [[Path(file).name for file in files] for files in options] == [
        ["sdkconfig.hil"],
        ["sdkconfig.release"],
        ["sdkconfig.hil", "sdkconfig.profile"],
    ]
    built = [line for line in log(tools) if line.startswith("--build")]
    folders = (build.build_dir, build.release_build_dir, build.profile_build_dir)
    assert built == [f"--build {folder('virtual')}" for folder in folders]


def test_without_idf_the_existing_build_is_used_and_no_release_is_required(
    tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build.build_dir("hardware")
    with pytest.raises(BuildError, match=r"no firmware build .* idf\.py is not on the path.*export\.sh"):
        build.build_firmware("hardware")
    folder.mkdir()
    (folder / "flasher_args.json").touch()
    assert build.build_firmware("hardware") == folder
    assert str(folder) in capsys.readouterr().out


def test_second_build_in_a_folder_waits_for_the_first(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_tool(tools, "idf.py")
    waits = threading.Event()
    monkeypatch.setattr("builtins.print", lambda text, **_: waits.set())
    folder = build.build_dir("qemu")
    folder.mkdir()
    second = threading.Thread(target=build.build_firmware, args=("qemu",))
    with (folder / build.LOCK_NAME).open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second.start()
        assert waits.wait(20.0)
        assert not (tools / "log").exists()
    second.join(20.0)
    assert len(log(tools)) == 3


def test_folder_that_another_user_owns_is_named_with_a_remedy(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tool(tools, "cmake")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BuildError, match=r"can't build in .*: Permission denied .*HOTPIN_STATE_DIR"):
        build.build_firmware("virtual")


def test_failed_build_reports_its_last_lines_and_log_file(tools: Path) -> None:
    (tools / "idf.py").write_text("#!/bin/sh\necho first; echo undefined reference; exit 3\n")
    (tools / "idf.py").chmod(0o755)
    with pytest.raises(BuildError, match=r"undefined reference\n'idf.py' exited with status 3"):
        build.build_firmware("hardware")
    assert (build.build_dir("hardware") / "build.log").read_text().startswith("first\n")


def test_configurations_are_those_of_the_idf_project() -> None:
    known = (build.FIRMWARE_DIR / "CMakeLists.txt").read_text()
    for configuration in ("hil", "release", "profile", "qemu", "qemu-release", "qemu-profile"):
        assert f'HOTPIN_BUILD STREQUAL "{configuration}"' in known
