"""Tests the timeouts of waits. They count the host's time, or the emulated board's time if its clock is slower."""

from __future__ import annotations

import itertools
import threading

import pytest

from hotpin_hil.device import Device, NoReply, budgets
from hotpin_hil.link import channel as channel_module
from hotpin_hil.link.channel import LAST_RESORT, STALL_S, Channel, Deadline
from tests.support.fake_firmware import FakeFirmware


class Host:
    """A host clock that the test advances, and an emulated board's clock, which is `slower` times slower."""

    def __init__(self, slower: float = 1.0) -> None:
        self.now_s = 1000.0
        self.slower = slower
        self.asked = 0

    def monotonic(self) -> float:
        return self.now_s

    def board_s(self) -> float | None:
        self.asked += 1
        return self.now_s / self.slower


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(channel_module, "time", host)
    return host


def lasts_s(deadline: Deadline, host: Host) -> float:
    """Host seconds until a deadline expires, if the waiter always sleeps for exactly the remaining time."""
    began_s = host.now_s
    while (remaining_s := deadline.remaining_s()) > 0:
        host.now_s += remaining_s
    return host.now_s - began_s


def test_budget_of_a_real_board_counts_host_time(host: Host) -> None:
    assert lasts_s(Deadline(2.0), host) == pytest.approx(2.0)


@pytest.mark.parametrize("slower", [1.0, 3.0])
def test_budget_of_an_emulated_board_counts_board_time(host: Host, slower: float) -> None:
    """The board's clock is read only after the budget has passed on the host, so the wait takes another whole
    budget."""
    host.slower = slower
    assert lasts_s(Deadline(2.0, host.board_s), host) == pytest.approx(2.0 + slower * 2.0, rel=0.1)


def test_board_clock_is_not_read_before_the_host_budget_ends(host: Host) -> None:
    deadline = Deadline(2.0, host.board_s)
    host.now_s += 1.9
    assert deadline.remaining_s() == pytest.approx(0.1)
    assert host.asked == 0


def test_board_clock_is_not_read_for_each_chunk(host: Host) -> None:
    deadline = Deadline(2.0, host.board_s)
    host.now_s += 2.0
    for _ in range(100):
        assert deadline.remaining_s() > 0
        host.now_s += 0.001
    assert host.asked == 1


@pytest.mark.parametrize("budget_s", [2.0, 60.0])
def test_stopped_board_clock_ends_the_wait(host: Host, budget_s: float) -> None:
    """If an emulator hangs, the wait must take twice the budget (the budget plus STALL_S if that is more), not
    LAST_RESORT."""
    lasts = lasts_s(Deadline(budget_s, lambda: 5.0), host)
    assert lasts == pytest.approx(budget_s + max(budget_s, STALL_S))


def test_slow_board_clock_has_not_stopped(host: Host) -> None:
    """A board on 3 % of a core needs 33 times the budget, so the wait ends at the limit LAST_RESORT, not because the
    clock seems to have stopped."""
    host.slower = 33.0
    assert lasts_s(Deadline(2.0, host.board_s), host) == pytest.approx(2.0 * LAST_RESORT)


def test_unreadable_board_clock_falls_back_to_host_time(host: Host) -> None:
    assert lasts_s(Deadline(2.0, lambda: None), host) == pytest.approx(2.0)


def test_reply_of_a_slow_emulator_comes_in_time() -> None:
    """The reply comes after the command's budget by the host's clock, but within the budget by the board's clock."""
    board_s = 0.0
    late = threading.Event()

    def clock() -> float:
        nonlocal board_s
        board_s += 0.001
        late.set()
        return board_s

    asked: list[bytes] = []
    channel = Channel(asked.append, board_clock_s=clock)
    firmware = FakeFirmware(channel.feed)

    def answer() -> None:
        late.wait()
        firmware.receive(asked[0])

    firmware.start()
    threading.Thread(target=answer, daemon=True).start()
    assert Device(channel).command("heap.probe", timeout_s=0.05, caps="DMA")["free"] == 100


def test_repeats_of_a_command_use_the_clock_of_the_line() -> None:
    channel = Channel(lambda data: None)
    budgets_s: list[float] = []

    def deadline(budget_s: float) -> Deadline:
        budgets_s.append(budget_s)
        return Deadline(budget_s)

    channel.deadline = deadline  # type: ignore[method-assign]
    with pytest.raises(NoReply):
        Device(channel).command("heap.probe", timeout_s=0.01, caps="DMA")
    assert budgets_s[0] == pytest.approx(0.01 * (1 + budgets.REPEATS))


def test_silent_emulated_board_times_out_by_its_own_clock() -> None:
    channel = Channel(lambda data: None, board_clock_s=itertools.count().__next__)
    with pytest.raises(NoReply):
        Device(channel).command("heap.probe", timeout_s=0.01, caps="DMA")
