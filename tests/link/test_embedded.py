"""Checks that the installed pytest-embedded still matches the version for which `hotpin_hil.link.embedded` was
written."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version

import pytest
import pytest_embedded.dut_factory
import pytest_embedded.plugin
import pytest_embedded_idf
import pytest_embedded_qemu
from pytest_embedded_idf.serial import IdfSerial
from pytest_embedded_qemu.app import QemuApp
from pytest_embedded_qemu.qemu import Qemu

import fixtures.console
from hotpin_hil.link.embedded import CHECKED_VERSION, FIXTURES, PACKAGES, install_qemu, install_serial
from hotpin_hil.link.idf_qemu import HilQemu, HilQemuApp
from hotpin_hil.link.idf_serial import HilIdfSerial

REMEDY = "compare its sources with hotpin_hil/link, then change CHECKED_VERSION"


@pytest.mark.parametrize("package", PACKAGES)
def test_installed_version_is_the_checked_one(package: str) -> None:
    assert version(package) == CHECKED_VERSION, REMEDY


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("pytest_embedded_idf", "IdfSerial"),
        ("pytest_embedded_qemu", "Qemu"),
        ("pytest_embedded_qemu", "QemuApp"),
    ],
)
def test_services_are_imported_by_name_when_a_dut_is_made(package: str, name: str) -> None:
    """pytest-embedded must import the services when a dut is created. With an import at module level it would use its
    own class, not the harness's replacement."""
    source = inspect.getsource(pytest_embedded.dut_factory)
    imports = re.findall(rf"^( *)from {package} import (.+)$", source, flags=re.MULTILINE)
    late = [names for indent, names in imports if indent]
    assert any(name in re.split(r", *", names) for names in late), REMEDY


@pytest.mark.parametrize(
    ("theirs", "parameters"),
    [
        (IdfSerial, "app target confirm_target_elf_sha256 erase_nvs kwargs"),
        (
            Qemu,
            "qemu_image_path qemu_prog_path qemu_cli_args qemu_extra_args qemu_efuse_path app kwargs",
        ),
        (
            QemuApp,
            "msg_queue qemu_image_path skip_regenerate_image encrypt keyfile qemu_prog_path kwargs",
        ),
    ],
)
def test_constructor_parameters_are_unchanged(theirs: type, parameters: str) -> None:
    found = list(inspect.signature(theirs.__init__).parameters)[1:]  # type: ignore[misc]
    assert " ".join(found) == parameters, REMEDY


@pytest.mark.parametrize("name", FIXTURES)
def test_overridden_fixtures_exist_in_pytest_embedded(name: str) -> None:
    assert hasattr(pytest_embedded.plugin, name), REMEDY
    assert hasattr(fixtures.console, name)


def test_replacements_take_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_embedded_idf, "IdfSerial", IdfSerial)
    monkeypatch.setattr(pytest_embedded_qemu, "Qemu", Qemu)
    monkeypatch.setattr(pytest_embedded_qemu, "QemuApp", QemuApp)
    for _ in range(2):
        install_serial()
        install_qemu()
    assert pytest_embedded_idf.IdfSerial is HilIdfSerial
    assert (pytest_embedded_qemu.Qemu, pytest_embedded_qemu.QemuApp) == (HilQemu, HilQemuApp)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(HilIdfSerial, IdfSerial), (HilQemu, Qemu), (HilQemuApp, QemuApp)]
)
def test_replacements_keep_the_public_methods(ours: type, theirs: type) -> None:
    public = {name for name in vars(theirs) if not name.startswith("_")}
    assert public <= set(dir(ours))
