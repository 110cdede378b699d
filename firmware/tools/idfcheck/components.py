"""The components of an ESP-IDF project and their include paths, derived as ESP-IDF's build system does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("components.cmake")

# Components that every component requires implicitly: __COMPONENT_REQUIRES_COMMON in ESP-IDF's tools/cmake/build.cmake,
# and the architecture's component.
COMMON = (
    "cxx",
    "newlib",
    "freertos",
    "esp_hw_support",
    "heap",
    "log",
    "soc",
    "hal",
    "esp_rom",
    "esp_common",
    "esp_system",
    "xtensa",
)


@dataclass(frozen=True)
class Component:
    """One component as registered in one configuration. Paths are absolute."""

    name: str
    directory: Path
    sources: tuple[Path, ...]
    include_dirs: tuple[Path, ...]
    private_include_dirs: tuple[Path, ...]
    requires: tuple[str, ...]
    private_requires: tuple[str, ...]
    fixed_requires: bool
    """True if REQUIRES and PRIV_REQUIRES do not depend on the configuration, as ESP-IDF demands."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Components in its REQUIRES and PRIV_REQUIRES."""
        return (*self.requires, *self.private_requires)


class ComponentError(Exception):
    """A component's CMakeLists.txt cannot be read."""


def read(
    idf: Path, directories: Iterable[Path], roots: Iterable[Path], config: Mapping[str, object], work: Path
) -> dict[str, Component]:
    """Reads the components of one configuration: those in `roots`, and all that they require, directly or indirectly.

    Args:
        idf: checkout of ESP-IDF.
        directories: directories of all available components.
        roots: directories of the components to start from.
        config: option names, without CONFIG_, and their values.
        work: directory for generated files.

    Returns:
        Name → component.

    Raises:
        ComponentError: a CMakeLists.txt cannot be read.
    """
    work.mkdir(parents=True, exist_ok=True)
    listing = work / "components.txt"
    listing.write_text("".join(f"{path}\n" for path in directories), encoding="utf-8")
    settings = work / "sdkconfig.cmake"
    settings.write_text("".join(setting(*item) for item in sorted(config.items())), encoding="utf-8")

    start = ";".join([*(path.name.rpartition("__")[2] for path in roots), *COMMON])
    early = run_cmake(idf, listing, start, work / "early.tsv", None)
    late = run_cmake(idf, listing, start, work / "configured.tsv", settings)
    found: dict[str, Component] = {}
    for name, (directory, sources, include_dirs, private_include_dirs, *late_requires) in late.items():
        if name not in early:
            continue  # only a conditional REQUIRES names it, which ESP-IDF does not support
        requires = early[name][4:]
        base = Path(directory)
        found[name] = Component(
            name=name,
            directory=base,
            sources=tuple(base / item for item in split(sources)),
            include_dirs=tuple(base / item for item in split(include_dirs)),
            private_include_dirs=tuple(base / item for item in split(private_include_dirs)),
            requires=(*split(requires[0]), *manifest(base, public=True)),
            private_requires=(*split(requires[1]), *manifest(base, public=False)),
            fixed_requires=[set(split(item)) for item in requires]
            == [set(split(item)) for item in late_requires],
        )
    return found


def run_cmake(
    idf: Path, listing: Path, roots: str, out: Path, settings: Path | None
) -> dict[str, tuple[str, ...]]:
    command = ["cmake", f"-DIDF_PATH={idf}", f"-DLIST={listing}", f"-DROOTS={roots}", f"-DOUT={out}"]
    if settings:
        command.append(f"-DCONFIG={settings}")
    done = subprocess.run([*command, "-P", str(SCRIPT)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ComponentError(f"cmake cannot read the components' CMakeLists.txt:\n{done.stderr.strip()}")
    return parse(out)


def manifest(directory: Path, *, public: bool) -> tuple[str, ...]:
    """Returns the components in idf_component.yml; the component manager adds their names to (PRIV_)REQUIRES."""
    path = directory / "idf_component.yml"
    if not path.is_file():
        return ()
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise ComponentError(f"PyYAML, which reads {path}, is missing: pip install pyyaml") from error
    entries = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("dependencies", {})
    return tuple(
        name.rpartition("/")[2]
        for name, entry in entries.items()
        if name != "idf" and bool(isinstance(entry, dict) and entry.get("public")) == public
    )


def absent(own: Iterable[Path], directories: Iterable[Path]) -> list[str]:
    """Returns the registry components in this project's manifests whose sources are missing."""
    there = {path.name.rpartition("__")[2] for path in directories}
    wanted = {name for path in own for public in (True, False) for name in manifest(path, public=public)}
    return sorted(wanted - there)


def parse(table: Path) -> dict[str, tuple[str, ...]]:
    rows = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
    return {row[0]: tuple(row[1:]) for row in rows}


def split(items: str) -> tuple[str, ...]:
    return tuple(item for item in items.replace(" ", ";").split(";") if item)


def setting(name: str, value: object) -> str:
    text = {True: "y", False: ""}[value] if isinstance(value, bool) else str(value)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'set(CONFIG_{name} "{escaped}")\n'


def public_includes(components: Mapping[str, Component], names: Iterable[str]) -> list[Path]:
    """Returns the include directories of these components: their own, and those of their public requirements."""
    seen: dict[str, None] = {}
    todo = list(names)
    while todo:
        name = todo.pop(0)
        if name in seen or name not in components:
            continue
        seen[name] = None
        todo.extend(components[name].requires)
    return [path for name in seen for path in components[name].include_dirs if path.is_dir()]


def includes_of(components: Mapping[str, Component], component: Component) -> list[Path]:
    """Returns the include path of a component's own sources."""
    own = [*component.include_dirs, *component.private_include_dirs]
    return own + public_includes(components, [*component.needs, *COMMON])


def owners(directories: Iterable[Path], header: str) -> list[str]:
    """Returns the names of the components that have this header in an include directory."""
    return sorted(
        directory.name
        for directory in directories
        if any(
            "include" in str(path)
            for path in directory.rglob(header.rpartition("/")[2])
            if path.match(header)
        )
    )
