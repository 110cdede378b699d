"""`hotpin-hil seal` and `hotpin-hil verify`: the manifest of a folder of evidence, and its check."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from hotpin_hil.paths import runs_dir

_DIFFERENT = 1


def add_commands(commands: Any) -> None:
    """Add the commands to the parser of `hotpin-hil`."""
    for name, run, what in (
        ("seal", _seal, "write SHA256SUMS, the hashes of everything in a folder, for a signature"),
        ("verify", _verify, "list the files changed, removed or added since a folder was sealed"),
    ):
        parser = commands.add_parser(name, help=what)
        parser.add_argument(
            "folder",
            metavar="DIR",
            type=Path,
            nargs="?",
            default=runs_dir(),
            help="folder of a run, or any other folder (default: the newest run)",
        )
        parser.set_defaults(run=run)


def _seal(options: argparse.Namespace) -> int:
    from hotpin_hil.evidence.run_folders import find_run
    from hotpin_hil.evidence.seal import MANIFEST, links_out, seal
    from hotpin_hil.printable import printable

    folder = find_run(options.folder)
    count = seal(folder)
    print(f"{folder / MANIFEST}: {count} files and links")
    for name, target in links_out(folder):
        print(printable(f"not sealed: the content of {target}, which the link {name} points to"))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from hotpin_hil.evidence.run_folders import find_run
    from hotpin_hil.evidence.seal import MANIFEST, SIGNATURES, verify
    from hotpin_hil.printable import printable

    folder = find_run(options.folder)
    differences = verify(folder)
    for difference in differences:
        print(printable(f"{difference.what}: {difference.name}").replace("\n", "\\n"))
    for name in SIGNATURES:
        if os.path.lexists(folder / name):
            print(f"not checked: {name} (check it with the tool that made it)")
    if differences:
        plural = "s" if len(differences) > 1 else ""
        print(f"{folder}: {len(differences)} difference{plural} from {MANIFEST}")
        return _DIFFERENT
    print(f"{folder}: unchanged since it was sealed")
    return 0
