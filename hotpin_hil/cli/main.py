"""`hotpin-hil`: virtual boards, the heap model, builds and reports from the command line."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hotpin_hil import __version__
from hotpin_hil.cli import analyze, compare, coredump, fidelity, history, monitor, runs, seal, trend
from hotpin_hil.cli.board import add_commands
from hotpin_hil.errors import HilError, host_remedy
from hotpin_hil.paths import runs_dir

if TYPE_CHECKING:
    from hotpin_hil.boards.kind import BoardKind

EXIT_ERROR = 2
EXIT_DIFFERENT = 1
EXIT_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Reports a usage error in one line with exit status 2, without the usage text."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(EXIT_ERROR, f"error: {message} (try: {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 done, 1 a difference or a finding of --fail-on, 2 an error, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _make_output_safe()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # flush here, not at exit, so that the handlers below see a closed pipe
    except HilError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # the program that reads the pipe (head, less) has ended
        return 0
    except OSError as error:
        # Commands handle errors of their files, so this is an error of the output, or a full disk.
        _drop_output()
        remedy = f" ({host_remedy(error)})" if host_remedy(error) else ""
        print(
            f"error: {error.filename or 'output'} cannot be written: {error.strerror}{remedy}",
            file=sys.stderr,
        )
        return EXIT_ERROR


def _make_output_safe() -> None:
    """Print unencodable characters as escapes; drop all output if standard output is closed."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Prevent a second error message when Python flushes standard output at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    command = options.run
    status: int = command(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hotpin-hil", description="Hardware-in-the-loop testing of the HotPin ESP32-CAM.")
    parser.add_argument("--version", action="version", version=f"hotpin-hil {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    board = commands.add_parser("board", help="start, flash and control virtual boards").add_subparsers(
        metavar="COMMAND", required=True
    )
    add_commands(board)

    boards = commands.add_parser(
        "boards",
        help="list attached boards and the boards of a bench, with their chips and current users",
    )
    boards.add_argument("--bench", metavar="FILE", help="also list this bench's boards (env: HOTPIN_BENCH)")
    boards.add_argument("--json", action="store_true", help="print one JSON array")
    boards.add_argument(
        "--no-probe", action="store_true", help="do not probe the boards, which would reset them"
    )
    boards.set_defaults(run=_boards)

    for name, run, what in (
        ("build", _build, "build the firmware for a kind of board"),
        ("kind", _kind, "print the kind of board that pytest would choose"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument(
            "--board", choices=_board_choices(), help="kind of board (default: as pytest would choose)"
        )
        command.add_argument("--port", help="the --port that pytest will get")
        command.set_defaults(run=run)

    report = commands.add_parser(
        "report", help="make qualification.json and report.html from a run's results.jsonl"
    )
    report.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        nargs="?",
        default=runs_dir(),
        help="folder of a run (default: the newest)",
    )
    report.add_argument(
        "--csv", action="store_true", help="also write requirements.csv and tests.csv, the requirement matrix"
    )
    report.set_defaults(run=_report)

    runs.add_command(commands)

    seal.add_commands(commands)

    fidelity.add_command(commands)

    compare.add_command(commands)

    trend.add_command(commands)

    history.add_command(commands)

    coredump.add_command(commands)

    analyze.add_command(commands)

    monitor.add_command(commands)

    profile = commands.add_parser(
        "profile", help="make a profile for virtual boards from a firmware build's memory map"
    )
    profile.add_argument(
        "build", metavar="FROM_BUILD", type=Path, help="idf.py's build directory, or an ELF file"
    )
    profile.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="TOML file to write (default: print); replaces only the memory map of an existing profile",
    )
    profile.set_defaults(run=_profile)

    heap = commands.add_parser("heap", help="run the heap model").add_subparsers(
        metavar="COMMAND", required=True
    )
    replay = heap.add_parser("replay", help="replay recorded heap operations in the model")
    replay.add_argument("file", metavar="FILE", type=Path)
    replay.set_defaults(run=_heap_replay)
    return parser


def _board_choices() -> tuple[str, ...]:
    from hotpin_hil.boards.kind import CHOICES

    return CHOICES


def _boards(options: argparse.Namespace) -> int:
    import json

    from hotpin_hil.boards.bench import find_bench
    from hotpin_hil.boards.inventory import take_inventory
    from hotpin_hil.boards.lease import lease_folder
    from hotpin_hil.boards.ports import find_ports
    from hotpin_hil.boards.probe import probe

    bench = find_bench(options.bench, os.environ)
    rows = take_inventory(
        find_ports(),
        bench.boards if bench else (),
        lease_folder(os.environ),
        None if options.no_probe else probe,
        lambda text: print(text, file=sys.__stderr__, flush=True),
    )
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=1))
        return 0
    for row in rows:
        print("\n".join(row.lines()))
    if bench and bench.labgrid:
        client = f"labgrid-client -x {bench.labgrid.coordinator}"
        print(f"to list labgrid's places: {client} places; to list their users: {client} who")
    elif not rows:
        print("no board found: no USB serial bridge of an ESP32-CAM board is attached", file=sys.stderr)
    return 0


def _build(options: argparse.Namespace) -> int:
    from hotpin_hil.boards.artifacts import read_build
    from hotpin_hil.boards.build import build_firmware

    kind = _kind_to_build(options)
    print(f"building the firmware for the {kind} board, which can take a while ...", flush=True)
    build = read_build(build_firmware(kind.value), kind)
    print(
        f"built {build.project} {build.version} (IDF {build.idf}, ELF {build.elf_sha256[:9]}) in {build.folder}"
    )
    return 0


def _kind(options: argparse.Namespace) -> int:
    print(_chosen_kind(options))
    return 0


def _kind_to_build(options: argparse.Namespace) -> BoardKind:
    """The kind of board to build for. If the user names it, no board has to be attached."""
    from hotpin_hil.boards.kind import ENV_BOARD, BoardKind

    asked = options.board or os.environ.get(ENV_BOARD)
    return BoardKind(asked) if asked in set(BoardKind) else _chosen_kind(options)


def _chosen_kind(options: argparse.Namespace) -> BoardKind:
    from hotpin_hil.boards.bench import find_bench
    from hotpin_hil.boards.choose import Wish, choose_board
    from hotpin_hil.boards.ports import find_ports

    return choose_board(
        Wish(kind=options.board, port=options.port),
        os.environ,
        lambda: [port.device for port in find_ports()],
        find_bench(None, os.environ),
    ).kind


def _report(options: argparse.Namespace) -> int:
    from hotpin_hil.evidence.qualification import headline, missing_lines
    from hotpin_hil.evidence.run_folders import find_run
    from hotpin_hil.report import write

    folder = find_run(options.folder)
    qualification = write.write_reports(folder)
    names = [write.QUALIFICATION_FILE, write.REPORT_FILE]
    if options.csv:
        write.write_csv(folder)
        names += [write.REQUIREMENTS_CSV, write.TESTS_CSV]
    for name in names:
        print(folder / name)
    print(headline(qualification))
    for line in missing_lines(qualification):
        print(f"  {line}")
    return 0


def _profile(options: argparse.Namespace) -> int:
    from hotpin_hil.virtual.profile_from_build import new_profile, read_build, write_profile

    built = read_build(options.build)
    if options.out is None:
        print(new_profile(built, options.build.resolve().name), end="")
    else:
        write_profile(built, options.out)
        print(options.out)
    return 0


def _heap_replay(options: argparse.Namespace) -> int:
    from hotpin_hil.virtual.heap_replay import replay

    return 0 if replay(options.file).ok else EXIT_DIFFERENT
