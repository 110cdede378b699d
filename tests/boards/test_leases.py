"""Tests leases: a board belongs to one run at a time, and a dead run does not block other runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotpin_hil.boards.bench import BoardEntry
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.lease import (
    ENV_LEASES,
    Holder,
    Lease,
    TakenError,
    holder_of,
    lease_folder,
    mac_name,
    port_name,
)
from hotpin_hil.boards.pool import BoardPool, LeasedBoard
from hotpin_hil.boards.power import PowerSwitch
from hotpin_hil.errors import FlashError, PortError, UsageError
from hotpin_hil.paths import PROJECT_ROOT

PATIENCE_S = 20.0

HOLDS = """
import os, sys
from pathlib import Path
from hotpin_hil.boards.lease import Lease
lease = Lease(Path(sys.argv[1]), "cam-1", shared=sys.argv[2] == "shared")
for name in sys.argv[3:]:
    lease.add(name)
print("has it", flush=True)
sys.stdin.read()
"""


class OtherRun:
    """Another process that has leased a board."""

    def __init__(self, folder: Path, *names: str, shared: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(folder), "shared" if shared else "alone", *names],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"has it\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def other_run(tmp_path: Path) -> Iterator[Callable[..., OtherRun]]:
    runs: list[OtherRun] = []

    def start(*names: str, shared: bool = False) -> OtherRun:
        runs.append(OtherRun(tmp_path, *names, shared=shared))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def test_holder_of_a_board_is_reported(tmp_path: Path, other_run: Callable[..., OtherRun]) -> None:
    run = other_run("mac-1")
    with pytest.raises(TakenError) as caught:
        Lease(tmp_path, "cam-1").add("mac-1")
    assert caught.value.holder.pid == run.process.pid
    assert caught.value.holder.board == "cam-1"
    assert f"cam-1 is in use by pid {run.process.pid} of " in str(caught.value)
    assert holder_of(tmp_path, "mac-2", "mac-1") == caught.value.holder
    assert holder_of(tmp_path, "mac-2") is None


def test_a_killed_runs_lease_is_taken_over_at_once(
    tmp_path: Path, other_run: Callable[..., OtherRun]
) -> None:
    other_run("mac-1").kill()
    assert holder_of(tmp_path, "mac-1") is None, "the lease file of a dead run must not count"
    with Lease(tmp_path, "cam-1") as lease:
        lease.add("mac-1")
        holder = holder_of(tmp_path, "mac-1")
        assert holder is not None
        assert holder.pid == os.getpid()
    assert holder_of(tmp_path, "mac-1") is None


def test_a_shared_lease_lasts_until_its_last_process_is_gone(
    tmp_path: Path, other_run: Callable[..., OtherRun]
) -> None:
    """The lease must outlive its first process, because workers of a killed pytest-xdist controller keep running for a
    while."""
    controller = other_run("mac-1", shared=True)
    assert holder_of(tmp_path, "mac-1") is not None
    with pytest.raises(TakenError):
        Lease(tmp_path, "cam-1").add("mac-1")
    worker = Lease(tmp_path, "cam-1")
    worker.join("mac-1")
    controller.kill()
    with pytest.raises(TakenError):
        Lease(tmp_path, "cam-1").add("mac-1")
    worker.release()
    Lease(tmp_path, "cam-1").add("mac-1")


def test_only_a_shared_lease_can_be_joined(tmp_path: Path, other_run: Callable[..., OtherRun]) -> None:
    other_run("mac-1")
    with pytest.raises(TakenError):
        Lease(tmp_path, "cam-1").join("mac-1")


@pytest.mark.parametrize("want", [Lease.add, Lease.join])
def test_process_that_reads_the_holder_does_not_block_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, want: Callable[[Lease, str], None]
) -> None:
    """`holder_of` in another process locks the file for a moment, which must not make a lease fail."""
    Lease(tmp_path, "cam-1").add("mac-1")
    looks = (tmp_path / "mac-1.lock").open("r+")
    fcntl.flock(looks, fcntl.LOCK_EX)
    monkeypatch.setattr(time, "sleep", lambda seconds: looks.close())
    with Lease(tmp_path, "cam-1") as lease:
        want(lease, "mac-1")
        assert looks.closed


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\0\xff"])
def test_lock_file_without_a_readable_holder_still_locks(tmp_path: Path, content: str) -> None:
    with Lease(tmp_path, "cam-1") as lease:
        lease.add("mac-1")
        (tmp_path / "mac-1.lock").write_text(content)
        with pytest.raises(TakenError, match="in use by another run"):
            Lease(tmp_path, "cam-1").add("mac-1")


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_lease_overwrites_no_file_of_another_name(tmp_path: Path, kind: str) -> None:
    """In a shared folder, any user can replace the lock file with another file or link."""
    folder = tmp_path / "leases"
    folder.mkdir()
    place, other = folder / "mac-00.lock", tmp_path / "precious"
    other.write_text("content")
    if kind == "link":
        place.symlink_to(other)
    elif kind == "hard link":
        place.hardlink_to(other)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    for use in (lambda: Lease(folder, "cam-1").add("mac-00"), lambda: holder_of(folder, "mac-00")):
        with pytest.raises(UsageError) as caught:
            use()
        assert str(place) in str(caught.value)
        assert ENV_LEASES in caught.value.remedy
    assert other.read_text() == "content"


def test_huge_lock_file_is_not_read_whole(tmp_path: Path, other_run: Callable[..., OtherRun]) -> None:
    run = other_run(tmp_path, "mac-00")
    with (tmp_path / "mac-00.lock").open("r+b") as file:
        file.truncate(1 << 40)
        file.write(b"[" * 5_000)
    holder = holder_of(tmp_path, "mac-00")
    assert holder is not None
    assert str(holder) == "another run"
    run.kill()


def test_holder_has_no_terminal_escapes(tmp_path: Path) -> None:
    holder = Holder(1, "eve", "host", "now", "\x1b]0;title\x07rm \x9b2J", "cam-1")
    assert "\x1b" not in str(TakenError("cam-1", holder))
    assert r"\x1b]0;title\x07rm \x9b2J" in str(TakenError("cam-1", holder))


def test_a_port_has_one_name(tmp_path: Path) -> None:
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "by-id").symlink_to("ttyUSB0")
    assert port_name(str(tmp_path / "by-id")) == port_name(str(tmp_path / "ttyUSB0"))
    assert port_name("rfc2217://127.0.0.1:4000?ign_set_control") == port_name("rfc2217://localhost:4000")
    assert port_name("rfc2217://127.0.0.1:4000") != port_name("rfc2217://127.0.0.1:4001")
    assert port_name("rfc2217://bench:4000") != port_name("rfc2217://localhost:4000")
    assert mac_name("24:0A:C4:00:00:01") == mac_name("24:0a:c4:00:00:01")


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_lease_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert lease_folder({}) == tmp_path / ".cache/hotpin-hil/leases"
    assert lease_folder({ENV_LEASES: "/run/lock/hotpin"}) == Path("/run/lock/hotpin")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UsageError, match=r"no home folder for leases \(set HOME or HOTPIN_LEASES\)"):
        lease_folder({})
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"can't write the lease .*file/mac-1\.lock.*HOTPIN_LEASES"):
        Lease(tmp_path / "file", "cam-1").add("mac-1")


# --- several users ---


class Users:
    """Runs functions as different users, each in its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, user: int, umask: int, do: Callable[[], str]) -> str:
        """Returns the result of `do`, or the text of its exception."""
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
                os.umask(umask)
                os.write(theirs, do().encode())
            except BaseException as error:
                os.write(theirs, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(theirs)
        with os.fdopen(ours, "rb") as result:
            text = result.read().decode()
        os.waitpid(child, 0)
        return text


@pytest.fixture
def users() -> Iterator[Users]:
    if os.geteuid():
        pytest.skip("only root can run as several users")
    # Not tmp_path: other users cannot enter pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="leases-"))
    try:
        # owned by an unrelated user, because fs.protected_regular exempts files of the folder's owner
        os.chown(folder, 65532, 65532)
        folder.chmod(0o1777)
        yield Users(folder)
    finally:
        shutil.rmtree(folder)


def test_users_share_a_lease_folder(users: Users) -> None:
    """Users lease each other's boards in turn, under any umask, and see the current user of a board."""

    def takes() -> str:
        with Lease(users.folder, "cam-1") as lease:
            lease.add("mac-1")
        return "had it"

    def looks() -> str:
        return str(holder_of(users.folder, "mac-1"))

    assert users.run(65533, 0o077, takes) == "had it"
    assert users.run(65534, 0o022, takes) == "had it"
    assert users.run(65533, 0o022, looks) == "None"
    with Lease(users.folder, "cam-1") as lease:
        lease.add("mac-1")
        assert users.run(65534, 0o022, looks).startswith(f"pid {os.getpid()} of ")
        assert users.run(65533, 0o022, takes).startswith(
            f"TakenError: cam-1 is in use by pid {os.getpid()} of "
        )


def test_unreadable_lock_file_is_a_one_line_error(users: Users) -> None:
    (users.folder / "mac-1.lock").touch(0o600)
    error = users.run(65534, 0o022, lambda: str(holder_of(users.folder, "mac-1")))
    assert error.startswith(
        f"UsageError: can't write the lease {users.folder}/mac-1.lock: Permission denied (set"
    )


# --- Choosing among several boards ---


class Bench:
    """Attached boards for a pool: port → MAC, None for a chip that does not answer."""

    def __init__(self, folder: Path, **macs: str | None) -> None:
        self.folder = folder
        self.macs = macs
        self.asked: list[str] = []
        self.announced: list[str] = []

    def ask_mac(self, port: str) -> str:
        self.asked.append(port)
        mac = self.macs[port]
        if mac is None:
            raise FlashError(f"no chip answers on {port}", "check the cable")
        return mac

    def pool(self, *boards: BoardEntry, mac: str | None = None) -> BoardPool:
        found = boards or tuple(BoardEntry(port, BoardKind.HARDWARE, port) for port in self.macs)
        return BoardPool(found, self.folder, lambda: list(self.macs), self.ask_mac, mac=mac)

    def lease(self, *boards: BoardEntry, count: int = 1, mac: str | None = None) -> list[LeasedBoard]:
        return self.pool(*boards, mac=mac).lease(count, 0, self.announced.append)


ONE, TWO, THREE = (f"24:0a:c4:00:00:0{number}" for number in (1, 2, 3))


def named(name: str, port: str | None = None, mac: str | None = None, **more: object) -> BoardEntry:
    return BoardEntry(name, BoardKind.HARDWARE, port, mac, **more)  # type: ignore[arg-type]


def test_a_board_is_leased_by_port_and_mac(tmp_path: Path) -> None:
    (board,) = Bench(tmp_path, p1=ONE).lease()
    assert (board.entry.port, board.entry.mac) == ("p1", ONE)
    # Both ports have the same MAC, so they belong to the same chip: the second port is refused, and its lease is
    # released.
    with pytest.raises(UsageError, match=r"1 board is needed, none free; in use: p9 .*by pid"):
        Bench(tmp_path, p9=ONE).lease()
    assert holder_of(tmp_path, port_name("p9")) is None
    board.lease.release()
    Bench(tmp_path, p9=ONE).lease()


def test_mac_of_a_leased_board_is_not_read(tmp_path: Path) -> None:
    """Reading the MAC would reset the board during the other run's test."""
    first = Bench(tmp_path, p1=ONE, p2=TWO).lease()
    bench = Bench(tmp_path, p1=ONE, p2=TWO)
    (second,) = bench.lease()
    assert (first[0].entry.port, second.entry.port) == ("p1", "p2")
    assert bench.asked == ["p2"]


def test_known_mac_is_not_read_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, p1=ONE)
    (board,) = bench.lease(named("a", "p1", ONE))
    assert bench.asked == []
    assert holder_of(tmp_path, mac_name(ONE)) is not None
    board.lease.release()


def test_all_requested_boards_are_leased_or_none(tmp_path: Path, other_run: Callable[..., OtherRun]) -> None:
    other_run(port_name("p2"))
    with pytest.raises(UsageError, match=r"2 boards are needed, 1 free; in use: p2 by pid \d+ of"):
        Bench(tmp_path, p1=ONE, p2=TWO).lease(count=2)
    assert holder_of(tmp_path, port_name("p1"), mac_name(ONE)) is None


def test_request_for_more_boards_than_attached_does_not_wait(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"3 boards are needed, .* only 2 available: p1, p2 \(use a smaller -n"
    ):
        Bench(tmp_path, p1=ONE, p2=TWO).pool().lease(3, 3600, print)


def test_wait_is_announced_once_and_ends_with_the_other_run(
    tmp_path: Path, other_run: Callable[..., OtherRun]
) -> None:
    run = other_run(port_name("p1"))
    bench = Bench(tmp_path, p1=ONE)

    def announce(text: str) -> None:
        bench.announced.append(text)
        run.kill()

    (board,) = bench.pool().lease(1, PATIENCE_S, announce)
    assert board.entry.mac == ONE
    (announcement,) = bench.announced
    assert announcement.startswith(
        f"waiting up to 20 s: 1 board is needed; in use: p1 by pid {run.process.pid} of "
    )


def test_wait_ends_at_its_timeout(tmp_path: Path, other_run: Callable[..., OtherRun]) -> None:
    other_run(port_name("p1"))
    with pytest.raises(UsageError, match=r"none free, even after 0\.05 s; in use: p1 by pid"):
        Bench(tmp_path, p1=ONE).pool().lease(1, 0.05, lambda text: None)


def test_ctrl_c_while_waiting_or_asking_leaves_nothing(
    tmp_path: Path, other_run: Callable[..., OtherRun]
) -> None:
    other_run(port_name("p2"))
    bench = Bench(tmp_path, p1=ONE, p2=TWO)

    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.pool().lease(2, PATIENCE_S, interrupted)
    bench.ask_mac = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.lease()
    assert holder_of(tmp_path, port_name("p1"), mac_name(ONE)) is None


def test_a_board_is_found_by_its_mac_on_no_other_boards_port(tmp_path: Path) -> None:
    bench = Bench(tmp_path, p1=ONE, p2=TWO, p3=THREE)
    boards = (named("a", "p1", ONE), named("c", None, THREE))
    leased = bench.lease(*boards, count=2)
    assert [(board.entry.name, board.entry.port) for board in leased] == [("a", "p1"), ("c", "p3")]
    assert bench.asked == ["p2", "p3"], (
        "p1 belongs to board a: reading its MAC would reset the board needlessly"
    )
    assert holder_of(tmp_path, port_name("p2")) is None
    assert holder_of(tmp_path, port_name("p3")) is not None


def test_board_is_chosen_by_mac(tmp_path: Path) -> None:
    (board,) = Bench(tmp_path, p1=ONE, p2=TWO).lease(mac=TWO)
    assert board.entry.port == "p2"
    assert holder_of(tmp_path, port_name("p1")) is None
    with pytest.raises(UsageError, match=rf"none of p1 has the MAC {THREE}"):
        Bench(tmp_path, p1=ONE).lease(mac=THREE)


def test_silent_board_is_leased_last(tmp_path: Path) -> None:
    """If the run also needs the silent board, the tests on it are BLOCKED with the reason; the run does not end with a
    usage error."""
    (board,) = Bench(tmp_path, p1=None, p2=TWO).lease()
    assert board.entry.port == "p2"
    assert holder_of(tmp_path, port_name("p1")) is None
    board.lease.release()
    both = Bench(tmp_path, p1=None, p2=TWO).lease(count=2)
    assert [(lease.entry.port, str(lease.problem or "")) for lease in both] == [
        ("p2", ""),
        ("p1", "no chip answers on p1 (check the cable)"),
    ]


def test_unattached_board_is_leased_last(tmp_path: Path) -> None:
    boards = (named("gone", None, THREE), named("b", "p2", TWO))
    (board,) = Bench(tmp_path, p2=TWO).lease(*boards)
    assert board.entry.name == "b"
    board.lease.release()
    (gone,) = Bench(tmp_path, p2=TWO).lease(boards[0])
    assert gone.entry.port is None
    assert isinstance(gone.problem, PortError)
    assert "board gone (24:0a:c4:00:00:03) is on none of the attached ports" in str(gone.problem)


def test_the_power_is_cycled_once_before_a_board_counts_as_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hotpin_hil.boards.pool.wait_for_port", lambda port: None
    )  # a URL has no device file to wait for
    counted = tmp_path / "cycles"
    cycle = PowerSwitch("a", cycle_command=f"sh -c 'echo x >> {counted}'")
    bench = Bench(tmp_path, p1=None)
    (board,) = bench.lease(named("a", "p1", power=cycle))
    assert board.problem is not None
    assert (bench.asked, counted.read_text()) == (["p1", "p1"], "x\n")
    board.lease.release()

    bench.asked.clear()
    revives = PowerSwitch("a", cycle_command="true")
    answers = iter([None, ONE])

    def ask(port: str) -> str:
        bench.macs["p1"] = next(answers)
        return Bench.ask_mac(bench, port)

    bench.ask_mac = ask  # type: ignore[method-assign]
    (board,) = bench.lease(named("a", "p1", power=revives))
    assert board.problem is None
    assert board.entry.mac == ONE


def test_a_virtual_board_is_leased_by_its_port_alone(tmp_path: Path) -> None:
    """Every server gives its boards the same sequence of MACs, so a MAC does not identify a virtual board."""
    bench = Bench(tmp_path)
    boards = [
        BoardEntry(name, BoardKind.VIRTUAL, f"rfc2217://127.0.0.1:{port}", ONE)
        for name, port in (("a", 4000), ("b", 4001))
    ]
    leased = [*bench.lease(boards[0]), *bench.lease(boards[1])]
    assert [board.entry.name for board in leased] == ["a", "b"]
    assert bench.asked == []
    with pytest.raises(UsageError, match="none free"):
        bench.lease(boards[0])
