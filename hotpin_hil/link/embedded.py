"""All replacements of pytest-embedded's internals.

pytest-embedded has no registry for services: its `dut_factory` imports a service's class by name from the service's
package when it makes a `dut`, so this module rebinds that name to a subclass. `fixtures/console.py` overrides fixtures
of pytest-embedded by name, as pytest intends; `FIXTURES` lists them.

Checked against `CHECKED_VERSION`. tests/link/test_embedded.py fails on any other version, or if a replaced name or
constructor changes.
"""

from __future__ import annotations

CHECKED_VERSION = "2.9.3"
PACKAGES = (
    "pytest-embedded",
    "pytest-embedded-idf",
    "pytest-embedded-qemu",
    "pytest-embedded-serial",
    "pytest-embedded-serial-esp",
)
FIXTURES = ("msg_queue", "_listener", "_mp_manager")
"""The pytest-embedded fixtures that the suite overrides."""


def install_serial() -> None:
    """Make pytest-embedded open ports with `HilIdfSerial` and the fast `rfc2217://` client. Idempotent."""
    import pytest_embedded_idf

    from hotpin_hil.link.idf_serial import HilIdfSerial
    from hotpin_hil.link.port import register_handlers

    register_handlers()
    pytest_embedded_idf.IdfSerial = HilIdfSerial


def install_qemu() -> None:
    """Make pytest-embedded run QEMU with `HilQemu` and `HilQemuApp`. Idempotent."""
    import pytest_embedded_qemu

    from hotpin_hil.link.idf_qemu import HilQemu, HilQemuApp

    pytest_embedded_qemu.Qemu = HilQemu
    pytest_embedded_qemu.QemuApp = HilQemuApp
