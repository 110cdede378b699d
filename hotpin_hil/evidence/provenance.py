"""Origin of a run's evidence: sources, firmware, flashed files, command, host, serial bridges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Tree:
    """State of a checkout."""

    commit: str = ""
    """40 hex digits; empty if unknown."""
    branch: str = ""
    tag: str = ""
    """Tags of the commit, separated by commas."""
    dirty: str = ""
    """Start of the SHA-256 of the uncommitted changes; empty if there are none."""
    unknown: str = ""
    """Why the commit is unknown."""

    @property
    def doubt(self) -> str:
        """Why the tree does not identify the sources; empty if it does."""
        if not self.commit:
            return f"is at an unknown commit{f' ({self.unknown})' if self.unknown else ''}"
        return f"has uncommitted changes ({self.dirty})" if self.dirty else ""


@dataclass(frozen=True)
class FlashedFile:
    """A file that the harness flashes."""

    offset: int
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class FirmwareSource:
    """Origin of one image of the firmware."""

    image: str
    """WITH_CONSOLE, RELEASE or PROFILE of evidence.lines."""
    elf_sha256: str
    tree: Tree
    """State of the firmware's folder at the time of the build."""
    idf_version: str
    idf_commit: str
    """Empty if ESP-IDF was not in git, and in a build for the host."""
    compiler: str
    """From the ELF file; empty if it does not name a compiler."""
    sdkconfig_sha256: str
    """Empty if the build folder has no sdkconfig."""
    flashed: tuple[FlashedFile, ...]


@dataclass(frozen=True)
class Bridge:
    """A serial bridge between host and board."""

    port: str
    bridge: str
    """Name of its chip; empty if it is unknown."""
    usb: str
    """USB path, such as "1-1.4"; empty if it is not a USB device of this host."""
    serial_number: str


@dataclass(frozen=True)
class Host:
    """The computer and the account that ran the tests."""

    name: str
    system: str
    user: str
    ci_job: str
    """URL of the CI job; empty outside of CI."""


@dataclass(frozen=True)
class Provenance:
    """Everything that identifies a run besides its results."""

    harness: Tree
    suite: Tree
    firmware: tuple[FirmwareSource, ...]
    """The image with the console first, then the release and profile images, if they existed when the run started."""
    requirements_sha256: str
    command: str
    order_seed: int | None
    """Seed of the test order; None: not shuffled."""
    time_scale: float | None
    """Maximum clock speed of a virtual board, as a multiple of the host's; None for other boards."""
    host: Host
    bridges: tuple[Bridge, ...]
    allow_dirty: bool
    """Whether the user asked to qualify despite `doubts`."""

    def doubts(self) -> list[str]:
        """The trees that do not identify their sources, with the reason."""
        trees = {"the harness": self.harness, "the suite": self.suite}
        if self.suite == self.harness:
            trees = {"the harness with its suite": self.harness}
        trees |= {f'the firmware image "{source.image}"': source.tree for source in self.firmware}
        return [f"{name} {tree.doubt}" for name, tree in trees.items() if tree.doubt]

    def as_json(self) -> dict[str, Any]:
        """The provenance as a JSON-serializable dict."""
        data: dict[str, Any] = _with_lists(asdict(self))
        return data

    @classmethod
    def from_json(cls, data: Any) -> Provenance:
        """The provenance that this JSON data describes.

        Raises:
            KeyError: A field is missing; the message is its key.
            TypeError: A value has a wrong type; `field_types.check_fields` checks the rest.
        """
        values = _values(cls, data)
        return cls(
            **{
                **values,
                "harness": Tree(**_values(Tree, data["harness"])),
                "suite": Tree(**_values(Tree, data["suite"])),
                "firmware": tuple(map(_read_source, _items(data["firmware"]))),
                "host": Host(**_values(Host, data["host"])),
                "bridges": tuple(Bridge(**_values(Bridge, row)) for row in _items(data["bridges"])),
            }
        )

    def flat(self) -> dict[str, str]:
        """The provenance as names and values, such as `harness.commit`; without empty values.

        The files of a firmware image are named by their offset: `firmware.release.0x10000`.
        """
        rows = {f"firmware.{_slug(source.image)}": source for source in self.firmware}
        bridges = {f"bridge.{number}": bridge for number, bridge in enumerate(self.bridges, start=1)}
        return dict(
            [
                *_flat("harness", asdict(self.harness)),
                *_flat("suite", asdict(self.suite)),
                *(pair for name, source in rows.items() for pair in _flat_source(name, source)),
                *_flat("host", asdict(self.host)),
                *(pair for name, bridge in bridges.items() for pair in _flat(name, asdict(bridge))),
                *_flat("run", {name: getattr(self, name) for name in _OF_RUN}),
            ]
        )


_OF_RUN = ("command", "order_seed", "time_scale", "requirements_sha256", "allow_dirty")


def _read_source(data: Any) -> FirmwareSource:
    values = _values(FirmwareSource, data)
    files = tuple(FlashedFile(**_values(FlashedFile, row)) for row in _items(data["flashed"]))
    return FirmwareSource(**{**values, "tree": Tree(**_values(Tree, data["tree"])), "flashed": files})


def _values(cls: type[Any], data: Any) -> dict[str, Any]:
    """The values of the fields of a dataclass. Other keys are ignored."""
    if not isinstance(data, Mapping):
        raise TypeError(f"{str(data)[:40]!r} is not an object")
    return {part.name: data[part.name] for part in fields(cls)}


def _with_lists(value: Any) -> Any:
    """Data of a dataclass, with lists instead of tuples."""
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, tuple) else value


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{str(value)[:40]!r} is not an array")
    return value


def _flat_source(name: str, source: FirmwareSource) -> Iterator[tuple[str, str]]:
    yield from _flat(name, asdict(source.tree))
    kept = ("elf_sha256", "idf_version", "idf_commit", "compiler", "sdkconfig_sha256")
    yield from _flat(name, {key: getattr(source, key) for key in kept})
    for file in source.flashed:
        yield f"{name}.{file.offset:#x}", f"{file.file}, {file.size} bytes, SHA-256 {file.sha256}"


def _flat(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if value not in ("", None):
            yield f"{name}.{key}", f"{value:g}" if isinstance(value, float) else str(value)


def _slug(image: str) -> str:
    return image.replace(" ", "_")
