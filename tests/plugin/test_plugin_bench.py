"""Tests the effects of a bench file in a session: choice of the board, features, and power cycles of a dead board."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.boards import probe
from hotpin_hil.errors import FlashError
from tests.support.fake_build import ELF_SHA256, write_build
from tests.support.plugin_suite import Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

PORT = "rfc2217://127.0.0.1:1"
MAC = "24:0a:c4:00:00:01"
BENCH = f"""
[[board]]
name = "cam-1"
port = "{PORT}"
mac = "{MAC}"
features = ["mic"]
"""
ON_BENCH = ("--bench=bench.toml", "hil_tests")
PASSES = "@requirement('AAA-01')\ndef test_it(measure): measure('x', 1, exact=1)\n"


@pytest.fixture(autouse=True)
def leases(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTPIN_LEASES", str(Path.cwd() / "leases"))
    monkeypatch.delenv("HOTPIN_BENCH", raising=False)
    suite.write("bench.toml", BENCH)


def only_verdict(suite: Suite) -> dict[str, str]:
    (verdict,) = [line for line in suite.lines if line["kind"] == "verdict"]
    return verdict


def test_a_board_of_the_bench_is_used_and_named(suite: Suite) -> None:
    result = suite.run(PASSES, *ON_BENCH)
    assert result.ret == 0
    assert result.outlines[0] == "evidence: virtual board (from bench.toml), at best REHEARSED (virtual)"
    assert only_verdict(suite)["reproduce"] == (
        "pytest --target esp32 --board virtual --bench bench.toml --board-name cam-1 hil_tests/test_it.py::test_it"
    )
    suite.validate()


def test_the_environment_names_the_bench(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTPIN_BENCH", "bench.toml")
    # The bench must override esptool's variable.
    monkeypatch.setenv("ESPPORT", "rfc2217://127.0.0.1:2")
    assert suite.run(PASSES).ret == 0
    assert "--bench bench.toml --board-name cam-1" in only_verdict(suite)["reproduce"]


def test_board_with_another_mac_than_the_bench_file_is_blocked(suite: Suite) -> None:
    suite.write("bench.toml", BENCH.replace(MAC, MAC[:-1] + "2"))
    suite.write("conftest.py", Path("conftest.py").read_text().replace("board.mac", f"'{MAC}'"))
    assert suite.run(PASSES, *ON_BENCH).ret == 7
    assert only_verdict(suite)["reason"] == f"the board's MAC is {MAC}, not {MAC[:-1]}2"
    assert "bench.toml" in only_verdict(suite)["remedy"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--bench=gone.toml",),
            "cannot read gone.toml: No such file or directory (correct --bench or HOTPIN_BENCH)",
        ),
        (
            ("--board-name", "cam-1"),
            "--board-name cam-1 names a board of a bench (also give --bench FILE",
        ),
        (
            ("--bench=bench.toml", "--board-name", "cam-2"),
            "bench.toml has no board named cam-2 (it has cam-1",
        ),
        (
            ("--bench=bench.toml", "--board-mac", MAC[:-1] + "9"),
            f"bench.toml has no board with MAC {MAC[:-1]}9",
        ),
        (("--bench=bench.toml", "--board-mac", "cam-1"), "--board-mac cam-1 is not a MAC"),
        (("--bench=bench.toml", "--board", "hardware"), "bench.toml has no hardware board (it has cam-1"),
        (
            ("--bench=bench.toml", "--board", "hardware", "--board-name", "cam-1"),
            "board cam-1 of the bench is a virtual board, but --board hardware was given",
        ),
        (("--lease-timeout", "-1"), "--lease-timeout must be at least 0, but is -1"),
        (("--lease-timeout", "nan"), "--lease-timeout must be at least 0, but is nan"),
    ],
)
def test_unavailable_board_is_a_one_line_error(suite: Suite, options: tuple[str, ...], message: str) -> None:
    result = suite.run(PASSES, *options, "hil_tests", board=None)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert line.startswith(f"ERROR: {message}")


# --- Fitted parts ---


def test_feature_missing_from_the_board_blocks_the_test(suite: Suite) -> None:
    """The verdict is BLOCKED, not NOT APPLICABLE, because another board of this kind can run the test."""
    result = suite.run(
        "@pytest.mark.needs('camera', 'mic')\n@requirement('AAA-01')\ndef test_a(dut): open('ran', 'w')\n"
        "@pytest.mark.needs('mic')\n@requirement('AAA-02')\ndef test_b(measure): measure('x', 1, exact=1)\n",
        *ON_BENCH,
    )
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("BLOCKED", "PASS")
    assert not Path("ran").exists()
    result.stdout.fnmatch_lines(["cam-1 has no camera", "*remedy: run this test on a board that has it*"])
    assert result.ret == 7


def test_power_switch_exists_only_on_a_bench(suite: Suite) -> None:
    tests = "@pytest.mark.needs('power')\n" + PASSES
    assert suite.run(tests).ret == 7
    assert only_verdict(suite)["reason"] == "the virtual board has no power"
    suite.write("bench.toml", BENCH + "power = { cycle = 'true' }\n")
    assert suite.run(tests, *ON_BENCH).ret == 0


def test_unknown_need_ends_the_run(suite: Suite) -> None:
    result = suite.run("@pytest.mark.needs('camra')\n" + PASSES)
    assert result.ret == 4
    assert "needs camra (known: camera, audio, mic, power)" in result.stderr.str()


# --- The running firmware ---

IDENTITY = """
import pytest
@pytest.fixture
def board(dut):
    dut.confirm({{"build": "native", "mac": dut.mac, "elf_sha256": {running!r}}}, {flashed!r})
@requirement("AAA-01")
def test_it(board, measure): measure("x", 1, exact=1)
"""


@pytest.mark.parametrize(
    ("running", "options", "verdict"),
    [
        (ELF_SHA256, (), "PASS"),
        ("00" * 32, (), "FAIL"),
        ("00" * 32, ("--skip-autoflash", "y"), "BLOCKED"),
        ("00" * 32, ("--skip-autoflash", "no"), "FAIL"),
        (ELF_SHA256, ("--skip-autoflash", "y"), "PASS"),
    ],
)
def test_evidence_is_only_of_the_firmware_under_test(
    suite: Suite, running: str, options: tuple[str, ...], verdict: str
) -> None:
    """A wrong identity is the firmware's fault (FAIL) if the harness flashed the board; otherwise the board has other
    firmware (BLOCKED)."""
    suite.write(
        "conftest.py", Path("conftest.py").read_text().replace('"--port"', '"--port", "--skip-autoflash"')
    )
    suite.run(IDENTITY.format(running=running, flashed=ELF_SHA256), *options, "hil_tests")
    assert suite.verdict("AAA-01") == verdict
    if verdict != "PASS":
        assert only_verdict(suite)["reason"].startswith(
            "the board is running the firmware with ELF 000000000, not this build's 00010203"
        )


# --- A dead board ---

DIES = """
@requirement("AAA-01")
def test_a(fixture_that_dies): pass
@requirement("AAA-02")
def test_b(measure): measure("x", 1, exact=1)
@pytest.fixture
def fixture_that_dies(dut): raise FlashError("no sync", "check the cable")
"""
SWITCHED = BENCH + "power = { cycle = \"sh -c 'echo x >> cycles'\" }\n"


def test_dead_board_is_power_cycled_before_the_rest_is_blocked(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(probe, "read_mac", asked.append)
    suite.write("bench.toml", SWITCHED)
    suite.run(DIES, *ON_BENCH)
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("BLOCKED", "PASS")
    assert Path("cycles").read_text() == "x\n"
    assert asked == [PORT]


def test_board_that_stays_dead_is_power_cycled_once(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(port: str) -> str:
        raise FlashError(f"no chip answers on {port}")

    monkeypatch.setattr(probe, "read_mac", silent)
    suite.write("bench.toml", SWITCHED)
    result = suite.run(DIES, *ON_BENCH)
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("BLOCKED", "BLOCKED")
    assert Path("cycles").read_text() == "x\n"
    assert result.ret == 7


def test_power_is_not_cycled_again_before_the_firmware_has_answered(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each power cycle the chip answers, but the firmware never reports its identity."""
    monkeypatch.setattr(probe, "read_mac", lambda port: MAC)
    suite.write("bench.toml", SWITCHED)
    suite.run(
        "@pytest.fixture\ndef dut():\n    open('tries', 'a').write('x')\n    raise FlashError('no sync')\n"
        "def test_a(dut): pass\ndef test_b(dut): pass\ndef test_c(dut): pass\n",
        *ON_BENCH,
    )
    assert Path("cycles").read_text() == "x\n"
    assert Path("tries").read_text() == "xx"


def test_dead_board_without_a_power_switch_is_not_retried(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "read_mac", lambda port: pytest.fail("asked"))
    suite.run(DIES, *ON_BENCH)
    assert suite.verdict("AAA-02") == "BLOCKED"


def test_silent_board_is_blocked(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead board is not a usage error. The run continues and reports BLOCKED with the remedy."""

    def silent(port: str) -> str:
        raise FlashError(f"no chip answers on {port}", "check the cable")

    monkeypatch.setattr(probe, "read_mac", silent)
    write_build(Path("firmware/build"), idf="v5.4.2")
    suite.write("bench.toml", '[[board]]\nname = "gone"\nmac = "24:0a:c4:00:00:07"\n')
    result = suite.run(PASSES, *ON_BENCH, board="hardware")
    assert result.ret == 7
    assert only_verdict(suite)["reason"] == "board gone (24:0a:c4:00:00:07) is on none of the attached ports"
    assert "plug it in" in only_verdict(suite)["remedy"]


# --- Known noise ---


def test_known_noise_is_listed(suite: Suite) -> None:
    suite.run(
        "from hotpin_hil.link.channel import Channel\n"
        "NOISE = b'E (9) gpio: gpio_install_isr_service(503): GPIO isr service already installed\\n'\n"
        "@pytest.fixture\ndef dut():\n"
        "    class Serial: channel = Channel()\n    class Dut: serial = Serial()\n"
        "    Serial.channel.feed(2 * NOISE)\n"
        "    return Dut()\n"
        "@requirement('AAA-01')\ndef test_it(dut): pass\n"
    )
    (note,) = [line for line in suite.lines if line.get("about") == "known_noise"]
    assert note["count"] == 2
    assert note["test"] == "hil_tests/test_it.py::test_it"
    assert "camera driver" in note["reason"]
    suite.validate()
