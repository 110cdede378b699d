"""The provenance of a run on hardware, for tests of results and reports."""

from __future__ import annotations

from hotpin_hil.evidence.provenance import Bridge, FirmwareSource, FlashedFile, Host, Provenance, Tree

COMMIT, SHA256 = "0123456789" * 4, "ab" * 32

PROVENANCE = Provenance(
    harness=Tree(COMMIT, "main", "v1.0"),
    suite=Tree(COMMIT, "main", "v1.0"),
    firmware=(
        FirmwareSource(
            image="with test console",
            elf_sha256=SHA256,
            tree=Tree(COMMIT),
            idf_version="v5.4.2",
            idf_commit="f" * 40,
            compiler="GCC: (crosstool-NG) 14.2.0",
            sdkconfig_sha256=SHA256,
            flashed=(FlashedFile(0x10000, "hotpin.bin", 394_080, SHA256),),
        ),
    ),
    requirements_sha256=SHA256,
    command="pytest --board hardware",
    order_seed=7,
    time_scale=None,
    host=Host("bench", "Linux-6.1", "alice", "https://ci.example.org/job/1"),
    bridges=(Bridge("/dev/ttyUSB0", "CH340", "1-1.4", ""),),
    allow_dirty=False,
)
