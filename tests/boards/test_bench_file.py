"""Reads bench.toml: each error must be reported in one line, before any board is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.boards.bench import BoardEntry, find_bench, load_bench, normal_mac
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.power import PowerSwitch
from hotpin_hil.errors import UsageError

WHOLE = """
[[board]]
name = "cam-1"
mac = "24-0A-C4-00-00-01"
port = "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0"
features = ["camera", "mic"]
notes = "no amplifier"
[board.power]
off = "uhubctl -a off -l 1-1 -p {name}"
on = "uhubctl -a on -l 1-1 -p 'for {mac} at {port}'"
off_s = 2
timeout_s = 5.5

[[board]]
name = "upstairs"
port = "rfc2217://bench-3.example:4000?ign_set_control"

[[board]]
name = "rehearsal"
port = "rfc2217://127.0.0.1:4000"

[[board]]
name = "remote by tunnel"
port = "rfc2217://localhost:4001"
kind = "hardware"

[[board]]
name = "wherever"
mac = "24:0a:c4:00:00:05"
port = "auto"
"""


def load(folder: Path, text: str) -> tuple[BoardEntry, ...]:
    path = folder / "bench.toml"
    path.write_text(text)
    return load_bench(path).boards


def test_every_key_is_read(tmp_path: Path) -> None:
    first, *others = load(tmp_path, WHOLE)
    assert first == BoardEntry(
        name="cam-1",
        kind=BoardKind.HARDWARE,
        port="/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0",
        mac="24:0a:c4:00:00:01",
        features=("camera", "mic"),
        power=PowerSwitch(
            board="cam-1",
            off_command="uhubctl -a off -l 1-1 -p cam-1",
            on_command="uhubctl -a on -l 1-1 -p 'for 24:0a:c4:00:00:01 at "
            "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0'",
            off_s=2.0,
            timeout_s=5.5,
        ),
        notes="no amplifier",
    )
    assert [board.kind.value for board in others] == ["hardware", "virtual", "hardware", "hardware"]
    assert (others[3].port, others[3].mac) == (None, "24:0a:c4:00:00:05")
    assert first.is_without("audio")
    assert not first.is_without("mic")
    assert not first.is_without("power")
    assert others[0].is_without("power")
    assert not others[0].is_without("audio")


def test_entry_survives_the_transfer_to_a_worker(tmp_path: Path) -> None:
    for board in load(tmp_path, WHOLE):
        assert BoardEntry.from_json(board.as_json()) == board


BOARD = '[[board]]\nname = "a"\nmac = "24:0a:c4:00:00:01"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no boards"),
        ("board = 3", "has no boards"),
        ("[[board]", "is not TOML"),
        ("[[boards]]\nname = 'a'", "unknown key 'boards'"),
        (BOARD + "prot = '/dev/ttyUSB0'", "board 'a': unknown key 'prot' (did you mean 'port'?)"),
        (BOARD + "colour = 'red'", "unknown key 'colour' (known keys: name, mac, port"),
        (BOARD + "port = 4000", "board 'a': port = 4000 is not valid (give a string)"),
        (BOARD + "notes = true", "notes = True is not valid (give a string)"),
        (BOARD + "features = 'camera'", "features = 'camera' is not valid (give a list)"),
        (BOARD + "features = ['camra']", "unknown feature 'camra' (known features: camera"),
        (BOARD + "kind = 'real'", "kind = 'real' is not valid (give hardware or virtual)"),
        (BOARD + "port = ''", "port = '' is not valid"),
        (BOARD + "port = 'socket://host:1'", "'socket://host:1' is not a URL of a remote board"),
        (BOARD + "port = 'rfc2217://host'", "'rfc2217://host' is not a URL of a remote board"),
        (BOARD + "port = 'rfc2217://host:port'", "write rfc2217://host:port"),
        (BOARD + "power = 'on'", "power = 'on' is not valid (give a table)"),
        (BOARD + "power = { on = 'x' }", "power has neither cycle nor both on and off"),
        (BOARD + "power = { cycel = 'x' }", "board 'a': power: unknown key 'cycel' (did you mean 'cycle'?)"),
        (BOARD + "power = { cycle = 'x', off_s = -1 }", "off_s = -1 is not valid"),
        (BOARD + "power = { cycle = 'x', timeout_s = nan }", "timeout_s = nan is not valid"),
        (BOARD + "power = { cycle = 'x {hub}' }", "cycle = 'x {hub}' uses {hub}"),
        (BOARD + "power = { cycle = 'x {port}' }", "uses {port}, which the board does not have"),
        (BOARD + "power = { cycle = 'x {' }", "cycle = 'x {' is not valid"),
        (BOARD + """power = { cycle = "x '" }""", "No closing quotation"),
        ("[[board]]\nmac = '24:0a:c4:00:00:01'", "board 1: name = '' is missing"),
        ("[[board]]\nname = 'a'", "board 'a' has neither port nor mac"),
        ("[[board]]\nname = 'a'\nmac = '24:0a:c4'", "board 'a': mac = '24:0a:c4' is not a MAC"),
        (BOARD + "kind = 'virtual'", "a virtual board cannot be found by its mac"),
        (
            BOARD + BOARD.replace("'a'", "'b'").replace('"a"', '"b"'),
            "board 'b': mac = '24:0a:c4:00:00:01' is also",
        ),
        (BOARD + BOARD.replace("01", "02"), "board 'a': name = 'a' is also used by 'a'"),
    ],
)
def test_invalid_bench_file_is_one_line_with_file_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "bench.toml") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_bench_option_overrides_the_environment(tmp_path: Path) -> None:
    load(tmp_path, BOARD)
    bench = find_bench(str(tmp_path / "bench.toml"), {"HOTPIN_BENCH": "not-there.toml"})
    assert bench is not None
    assert find_bench(None, {"HOTPIN_BENCH": str(tmp_path / "bench.toml")}) == bench
    assert find_bench(None, {}) is None
    with pytest.raises(UsageError, match=r"cannot read not-there\.toml: No such file.*HOTPIN_BENCH"):
        find_bench(None, {"HOTPIN_BENCH": "not-there.toml"})


@pytest.mark.parametrize("text", ["240AC4000001", "24-0a-c4-00-00-01", " 24:0A:C4:00:00:01 "])
def test_usual_spellings_of_a_mac_are_accepted(text: str) -> None:
    assert normal_mac(text) == "24:0a:c4:00:00:01"


@pytest.mark.parametrize("text", ["", "24:0a:c4:00:00", "24:0a:c4:00:00:0g", "24:0a:c4:00:00:01:02"])
def test_invalid_mac_is_refused(text: str) -> None:
    assert normal_mac(text) is None
