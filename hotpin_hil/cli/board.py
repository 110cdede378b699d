"""`hotpin-hil board …`: virtual boards from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotpin_hil.errors import UsageError
from hotpin_hil.paths import NATIVE_BUILD_DIR

if TYPE_CHECKING:
    from hotpin_hil.boards.artifacts import FirmwareBuild
    from hotpin_hil.virtual.control import BoardControl

_BOARD_HELP = "name, MAC or port from `board list`; optional if only one board is running"
_CONSOLE_BAUD = 115200


def add_commands(board: Any) -> None:
    """Add the commands to the subparsers of `hotpin-hil board`."""
    start = board.add_parser("start", help="start virtual boards and serve them until stopped (Ctrl-C)")
    start.add_argument("--count", type=int, default=1, metavar="N", help="number of boards (default: 1)")
    start.add_argument(
        "--json", action="store_true", help="print a JSON line per board: name, port, mac, directory"
    )
    start.add_argument(
        "--profile", metavar="NAME", help="name or path of a board profile (default: hotpin-5.4)"
    )
    start.add_argument(
        "--state-dir", metavar="DIR", help="folder that keeps the boards' flash between starts"
    )
    start.add_argument(
        "--seed", type=int, metavar="N", help="seed of an earlier start, to repeat its random values"
    )
    start.add_argument(
        "--time-scale",
        type=float,
        metavar="X",
        help="speed of the board's clock relative to the host's (default: 1)",
    )
    start.add_argument("--paced", action="store_true", help="send at the UART's baud rate instead of at once")
    start.add_argument(
        "--port", type=int, metavar="N", help="TCP port of the first board (default: any free)"
    )
    start.add_argument(
        "--flash",
        nargs="?",
        const=NATIVE_BUILD_DIR,
        type=Path,
        metavar="BUILD_DIR",
        help="flash this build first (default: firmware/build-native)",
    )
    end = start.add_mutually_exclusive_group()
    end.add_argument("--until-eof", action="store_true", help="also stop when standard input ends")
    end.add_argument("--detach", action="store_true", help="serve in the background until `board stop`")
    start.set_defaults(run=_start)

    flash = _command(board, "flash", _flash, "flash the parts of a build that differ, and reset the board")
    flash.add_argument("board", nargs="?", metavar="BOARD", help=_BOARD_HELP)
    flash.add_argument(
        "--build", type=Path, default=NATIVE_BUILD_DIR, metavar="DIR", help="default: firmware/build-native"
    )

    show = _command(board, "list", _list, "list the running virtual boards")
    show.add_argument("--json", action="store_true", help="print a JSON line per board")

    stop = _command(board, "stop", _stop, "stop virtual boards, keeping their flash")
    stop.add_argument("boards", nargs="*", metavar="BOARD", help=_BOARD_HELP)
    stop.add_argument("--all", action="store_true", help="stop all running boards")

    for name, run, what in (
        ("reset", _reset, "press a board's reset button"),
        ("console", _console, "open a terminal on a board's UART (Ctrl-] exits)"),
    ):
        _command(board, name, run, what).add_argument("board", nargs="?", metavar="BOARD", help=_BOARD_HELP)

    power = _command(board, "power", _power, "switch a board's power")
    power.add_argument("to", choices=("on", "off"))
    power.add_argument("board", nargs="?", metavar="BOARD", help=_BOARD_HELP)

    fault = _command(board, "fault", _fault, "inject a fault, or list the faults (no argument)")
    fault.add_argument(
        "fault", nargs="?", metavar="FAULT", help="name of the fault, or `clear` to end all faults"
    )
    fault.add_argument("arguments", nargs="*", metavar="KEY=VALUE", help="arguments of the fault")
    fault.add_argument("--on", dest="board", metavar="BOARD", help=_BOARD_HELP)
    fault.add_argument(
        "--seed", type=int, metavar="N", help="seed of an earlier fault, to repeat its random values"
    )


def _command(board: Any, name: str, run: Callable[[argparse.Namespace], int], what: str) -> Any:
    command = board.add_parser(name, help=what)
    command.add_argument("--state-dir", metavar="DIR", help="the --state-dir of `board start`")
    command.set_defaults(run=run)
    return command


def _start(options: argparse.Namespace) -> int:
    from hotpin_hil.virtual.server import main_start

    if options.flash is not None:
        _build(options.flash)  # report a wrong build before starting a board
    return _start_detached(options) if options.detach else main_start(options)


def _start_detached(options: argparse.Namespace) -> int:
    from hotpin_hil.boards.board_process import start_detached
    from hotpin_hil.virtual.server import start_line

    words = ["--paced"] if options.paced else []
    for name in ("count", "profile", "state_dir", "seed", "time_scale", "port", "flash"):
        value = getattr(options, name)
        words += [f"--{name.replace('_', '-')}={value}"] if value is not None else []
    boards = start_detached(words, options.count, _state_dir(options))
    for board in boards:
        print(start_line(board, options.json))
    if not options.json:
        print(f"running in the background, log {boards[0]['log']}; stop with: hotpin-hil board stop")
    return 0


def _flash(options: argparse.Namespace) -> int:
    from hotpin_hil.boards.flasher import flash_build
    from hotpin_hil.boards.lease import Lease, lease_folder, port_name

    build = _build(options.build)
    control = _chosen(options)
    name = control.directory.name
    with Lease(lease_folder(os.environ), name) as lease:
        port = control.state()["port"]
        lease.add(port_name(port))
        state = control.state()
        if state["client"]:
            raise UsageError(
                f"another program is connected to {name} on {port}", "close the monitor, console or test run"
            )
        if state["power"] == "off":
            raise UsageError(f"{name} is powered off", "hotpin-hil board power on")
        written = flash_build(port, build)
    done = f"{', '.join(written)} written" if written else "already up to date"
    print(f"{name} has {build.project} {build.version} (ELF {build.elf_sha256[:9]}): {done}; reset")
    return 0


def _build(folder: Path) -> FirmwareBuild:
    from hotpin_hil.boards.artifacts import check_registered, read_build
    from hotpin_hil.boards.kind import BoardKind

    build = read_build(folder, BoardKind.VIRTUAL)
    check_registered(build)
    return build


def _list(options: argparse.Namespace) -> int:
    states = [board.state() for board in _running(options)]
    for state in states:
        if options.json:
            print(json.dumps(state))
        else:
            words = [state["name"], state["mac"], state["port"], state["runs"]]
            words += [state["holds"] or "no app"]
            words += ["client"] if state["client"] else []
            words += [f"[{fault}]" for fault in state["faults"]]
            print("  ".join(words))
    if not states:
        print("no virtual board is running here (start one: hotpin-hil board start)", file=sys.stderr)
    return 0


def _stop(options: argparse.Namespace) -> int:
    boards = _running(options)
    if not options.all:
        chosen = [_choose(boards, board) for board in options.boards] or [_choose(boards, None)]
        boards = list(dict.fromkeys(chosen))  # the user may name a board twice
    for board in boards:
        board.stop()
        print(f"stopped {board.directory.name}")
    return 0


def _reset(options: argparse.Namespace) -> int:
    _chosen(options).ask("reset")
    return 0


def _power(options: argparse.Namespace) -> int:
    _chosen(options).ask("power", on=options.to == "on")
    return 0


def _fault(options: argparse.Namespace) -> int:
    from hotpin_hil.virtual.faults.table import FAULTS, find

    if options.fault is None:
        for fault in FAULTS.values():
            arguments = " ".join(f"{argument.name}={argument.default}" for argument in fault.arguments)
            print(f"{fault.name:<20}{fault.help}; ends {fault.ends}")
            if arguments:
                print(f"{'':<20}{arguments}")
        return 0
    if options.fault == "clear":
        _chosen(options).ask("clear")
        return 0
    given = dict(_key_value(word) for word in options.arguments)
    find(options.fault).parse(given)  # report a wrong argument before searching for the board
    begun = _chosen(options).ask("fault", fault=options.fault, arguments=given, seed=options.seed)
    print(begun["text"])
    return 0


def _key_value(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise UsageError(
            f"{word!r} is not of the form KEY=VALUE",
            "`hotpin-hil board fault` lists the arguments of each fault",
        )
    return key, value


def _console(options: argparse.Namespace) -> int:
    from serial.tools.miniterm import Miniterm

    from hotpin_hil.link.port import open_port

    if not sys.stdin.isatty():
        raise UsageError(
            "board console needs a terminal", "in a program, use the port that `board list` shows"
        )
    port = open_port(_chosen(options).state()["port"], _CONSOLE_BAUD)
    print(f"console of {port.port}; Ctrl-] exits, Ctrl-T Ctrl-H shows help", file=sys.stderr)
    terminal = Miniterm(port, eol="lf", filters=("direct",))
    terminal.set_rx_encoding("utf-8", "replace")
    terminal.set_tx_encoding("utf-8")
    terminal.exit_character, terminal.menu_character = "\x1d", "\x14"
    terminal.start()
    try:
        terminal.join(True)
    except KeyboardInterrupt:
        terminal.stop()
    terminal.join()
    terminal.close()
    return 0


def _running(options: argparse.Namespace) -> list[BoardControl]:
    from hotpin_hil.virtual.control import running

    return running(_state_dir(options))


def _state_dir(options: argparse.Namespace) -> Path:
    from hotpin_hil.virtual.server import default_state_dir

    return Path(options.state_dir) if options.state_dir else default_state_dir()


def _chosen(options: argparse.Namespace) -> BoardControl:
    return _choose(_running(options), options.board)


def _choose(boards: Sequence[BoardControl], wanted: str | None) -> BoardControl:
    """The board with this name, or the only running board. Raises UsageError otherwise."""
    named = {board.directory.name: board for board in boards}
    names = ", ".join(named) or "none"
    if wanted is None:
        if len(boards) != 1:
            raise UsageError(
                f"{len(boards)} virtual boards are running" if boards else "no virtual board is running here",
                f"name one of {names}" if boards else "start one: hotpin-hil board start",
            )
        return boards[0]
    for board in boards:
        state = board.state()
        if wanted.lower() in (
            state["name"].lower(),
            state["mac"],
            state["port"],
            state["port"].rsplit(":")[-1],
        ):
            return board
    raise UsageError(f"no virtual board {wanted!r} is running here", f"running: {names}")
