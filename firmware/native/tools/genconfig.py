"""Resolves the firmware's configuration for the host build.

Reads the Kconfig tree (the supported ESP-IDF options and the project's own) with the given defaults files, as idf.py
does, and writes `sdkconfig.h` for the C sources and `sdkconfig.json` for the tools.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

HELP_MISSING = (
    "the Python package esp-idf-kconfig is missing: install it for the Python that runs the build ({python}), "
    "e.g. `{python} -m pip install esp-idf-kconfig`"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kconfig", type=Path, required=True, help="root Kconfig")
    parser.add_argument(
        "--source", type=Path, action="append", default=[], help="a component's Kconfig (can be repeated)"
    )
    parser.add_argument(
        "--defaults", type=Path, action="append", default=[], help="sdkconfig.defaults file (can be repeated)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="directory for sdkconfig.h and sdkconfig.json"
    )
    args = parser.parse_args()
    try:
        from esp_kconfiglib import Kconfig  # type: ignore[import-untyped]
    except ImportError:
        return fail(HELP_MISSING.format(python=sys.executable))
    for path in [args.kconfig, *args.source, *args.defaults]:
        if not path.is_file():
            return fail(f"{path}: no such file")

    args.out.mkdir(parents=True, exist_ok=True)
    sources = args.out / "kconfigs.in"
    sources.write_text("".join(f'source "{path.resolve()}"\n' for path in args.source), encoding="utf-8")
    os.environ["COMPONENT_KCONFIGS_SOURCE_FILE"] = str(sources.resolve())

    config = Kconfig(str(args.kconfig), warn_to_stderr=False, info=False, suppress_traceback=True)
    known = set(config.syms)
    for path in args.defaults:
        unknown = sorted(set(assigned(path)) - known)
        if unknown:
            return fail(
                f"{path}: unknown option CONFIG_{unknown[0]}: correct its name; if ESP-IDF has this option and it has "
                f"no effect on the host, add it to {args.kconfig}"
            )
        config.load_config(str(path), replace=False)

    values: dict[str, bool | int | str] = {}
    for name, symbol in config.syms.items():
        value = value_of(symbol) if symbol.nodes and symbol.orig_type else None
        if value is not None:
            values[name] = value
    write_if_changed(args.out / "sdkconfig.h", header(values))
    write_if_changed(args.out / "sdkconfig.json", json.dumps(dict(sorted(values.items())), indent=4) + "\n")
    return 0


def assigned(path: Path) -> list[str]:
    """Returns the option names, without CONFIG_, that a defaults file sets."""
    names = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if line.startswith("# CONFIG_") and line.endswith(" is not set"):
            names.append(line[len("# CONFIG_") : -len(" is not set")])
        elif line and not line.startswith("#"):
            if not line.startswith("CONFIG_") or "=" not in line:
                raise SystemExit(f"{path}:{number}: {line!r} is not an assignment (CONFIG_NAME=value)")
            names.append(line[len("CONFIG_") : line.index("=")])
    return names


def value_of(symbol: object) -> bool | int | str | None:
    """Returns a symbol's value for JSON; None if it has no value because its dependencies are off."""
    from esp_kconfiglib.core import BOOL, HEX, INT, STRING  # type: ignore[import-untyped]

    kind, text = symbol.orig_type, symbol.str_value  # type: ignore[attr-defined]
    if kind == BOOL:
        return bool(text == "y")
    if kind in (INT, HEX):
        return int(text, 0) if text else None
    return str(text) if kind == STRING else None


def header(values: dict[str, bool | int | str]) -> str:
    lines = ["/* Made from Kconfig by genconfig.py: do not edit. */", "#pragma once", ""]
    for name, value in sorted(values.items()):
        if value is True:
            lines.append(f"#define CONFIG_{name} 1")
        elif isinstance(value, str):
            lines.append(f"#define CONFIG_{name} {json.dumps(value)}")
        elif value is not False:
            lines.append(f"#define CONFIG_{name} {value}")
    return "\n".join(lines) + "\n"


def write_if_changed(path: Path, text: str) -> None:
    """Writes a file only if its text changes, so that an unchanged configuration recompiles no source."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def fail(message: str) -> int:
    print(f"genconfig: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
