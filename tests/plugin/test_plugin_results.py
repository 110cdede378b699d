"""Tests the contents of the results besides verdicts, even if a run or a worker was killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import signal

import pytest

from hotpin_hil.cli.main import main
from hotpin_hil.evidence.lines import SelectionNote
from hotpin_hil.evidence.results import ResultsFile
from tests.support.plugin_suite import CONFTEST, IMPORTS, REGISTERED, WITHOUT, Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

# Uses no board, so that it can run in a worker. The second test kills its victim only after the first test's verdict is
# in results.jsonl.
KILLED = """
import os, signal, time
from pathlib import Path
from hotpin_hil.pytest_plugin.plugin import recorder_of

def measure(request):
    recorder_of(request.node).measure("x", 1, exact=1)

@requirement("AAA-01")
def test_over(request):
    measure(request)

@requirement("AAA-01", "AAA-02")
def test_killed(request):
    measure(request)
    results = Path("build/qualification/latest/results.jsonl")  # the other process makes it
    while not (results.exists() and '"kind":"verdict"' in results.read_text()):
        time.sleep(0.01)
    os.kill(VICTIM, signal.SIGKILL)
    time.sleep(60)
"""
NEVER_BEGUN = """
@requirement("AAA-02")
def test_never_begun(request):
    measure(request)
"""


@pytest.mark.parametrize(
    ("victim", "workers"),
    [("os.getpid()", ()), ("os.getppid()", ("-n", "2"))],
    ids=["alone", "on two workers"],
)
def test_killed_run_leaves_a_correct_report(
    suite: Suite,
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
    victim: str,
    workers: tuple[str, ...],
) -> None:
    never_begun = "" if workers else NEVER_BEGUN  # otherwise the other worker would start this test
    suite.write("conftest.py", CONFTEST + REGISTERED)
    suite.write("hil_tests/test_it.py", IMPORTS + KILLED.replace("VICTIM", victim) + never_begun)
    result = pytester.runpytest_subprocess(*WITHOUT, "--board", "virtual", *workers, "hil_tests", timeout=60)
    assert result.ret == -signal.SIGKILL
    assert suite.lines[-1]["kind"] != "end"
    capsys.readouterr()

    assert main(["report", str(suite.folder)]) == 0
    output = capsys.readouterr().out
    running = "hil_tests/test_it.py::test_killed"
    assert f"INCOMPLETE (virtual): the run was cut off while {running} was running; 1 of 1" in output
    assert f"  was running: {running}\n" in output
    assert "  no test completed for: AAA-02\n" in output
    assert "  not all tests completed for: AAA-01\n" in output
    qualification = suite.qualification
    waiting = {"test": "hil_tests/test_it.py::test_never_begun", "requirement": ["AAA-02"], "running": False}
    assert qualification["unfinished"] == [
        {"test": running, "requirement": ["AAA-01", "AAA-02"], "running": True},
        *([waiting] if never_begun else []),
    ]
    # The measurements of the killed test are kept.
    measured = qualification["requirements"]["AAA-01"]["measurements"]
    assert running in [line["test"] for line in measured]
    suite.validate()


def test_test_whose_worker_crashed_is_blocked_as_not_finished(suite: Suite) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    result = suite.run(
        "import os, signal\nfrom hotpin_hil.pytest_plugin.plugin import recorder_of\n"
        "@requirement('AAA-01')\ndef test_crash(request):\n"
        "    recorder_of(request.node).measure('free', 7, 'B', min=5)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "@requirement('AAA-02')\ndef test_good(request):\n"
        "    recorder_of(request.node).measure('x', 1, exact=1)\n",
        *("-n", "2", "hil_tests"),
    )
    assert result.ret == 7
    assert (suite.verdict("AAA-01"), suite.verdict("AAA-02")) == ("BLOCKED", "PASS")
    row = suite.qualification["requirements"]["AAA-01"]
    assert "not finished: worker 'gw" in row["tests"][0]["reason"]
    assert row["measurements"][0]["value"] == 7
    result.stdout.fnmatch_lines(["*1 passed, *1 blocked in*"])
    suite.validate()


def test_worker_of_a_killed_run_does_not_write_into_the_next(suite: Suite) -> None:
    tests = "@requirement('AAA-01')\ndef test_it(measure): measure('x', 1, exact=1)\n"
    suite.run(tests)
    left_over = ResultsFile(suite.folder / "results.jsonl")
    suite.run(tests)
    left_over.append(SelectionNote("of the older run"))
    left_over.close()
    assert "older" not in (suite.folder / "results.jsonl").read_text()


# A board that answers: the fake firmware behind the channel of `dut.serial`.
TALKING = """
import pytest
from hotpin_hil.device import Device
from hotpin_hil.link.channel import Channel
from hotpin_hil.pytest_plugin.plugin import notes_of
from tests.support.fake_firmware import FakeFirmware

class Serial:
    def __init__(self):
        self.channel = Channel(lambda data: self.firmware.receive(data), name="fake")
        self.firmware = FakeFirmware(self.channel.feed)
        self.firmware.start()

@pytest.fixture
def dut():
    class Dut:
        serial = Serial()
    return Dut()

@pytest.fixture
def firmware(dut):
    return dut.serial.firmware

@pytest.fixture
def device(request, dut):
    device = Device(dut.serial.channel)
    device.on_reply.append(notes_of(request.node).reply)
    device.wait_ready()
    return device
"""


def about(suite: Suite, what: str) -> list[dict[str, object]]:
    return [line for line in suite.lines if line.get("about") == what]


def test_board_output_is_noted_as_it_arrives(suite: Suite) -> None:
    suite.run(
        f"{TALKING}\n"
        "@requirement('AAA-01')\n"
        "def test_it(device, firmware):\n"
        "    firmware.handlers['mode.ledger'] = lambda _, args: {'ledger': [{'step': 'lock'}]}\n"
        "    firmware.event('mode', **{'from': 'init', 'to': 'camera', 'ok': True})\n"
        "    firmware.output(firmware.record('!', {'event': 'mem.sample', 'context': 'A', 'more': True}))\n"
        "    firmware.output(firmware.record('!', {'event': 'mem.sample', 'internal_free': 7}))\n"
        "    device.command('mode.ledger')\n"
        "    device.probe('DMA')\n"
        "    lines = open('build/qualification/latest/results.jsonl').read()\n"
        "    assert 'mem.sample' in lines and 'mode.ledger' in lines\n"
        "    pytest.fail('done')\n"
    )
    boot, mode, sample = about(suite, "event")
    assert (boot["event"], boot["mode"]) == ("boot", None)
    assert (mode["event"], mode["mode"], mode["data"]) == (
        "mode",
        "camera",
        {"from": "init", "to": "camera", "ok": True},
    )
    assert (sample["event"], sample["mode"]) == ("mem.sample", "camera")
    assert sample["data"] == {"context": "A", "internal_free": 7}
    assert sample["t"] == 104
    assert sample["boot"] == boot["boot"]
    (ledger,) = about(suite, "reply")
    assert (ledger["command"], ledger["data"]) == ("mode.ledger", {"ledger": [{"step": "lock"}]})
    assert "done" in suite.lines[-2]["reason"]
    suite.validate()


@pytest.mark.parametrize(
    ("trouble", "wanted", "why"),
    [
        ("raise DeviceError('heap.hold', {'err': 'ESP_ERR_NO_MEM'})", None, "'heap.hold' failed: ESP_ERR_*"),
        (
            "raise DeviceError('tts.open', {'err': 'ESP_ERR_NO_MEM',"
            " 'msg': 'need 98304 of PSRAM and a block of 65536, have 9 and a block of 8'})",
            ("SPIRAM", 65536),
            "'tts.open' failed: ESP_ERR_*",
        ),
        (
            "firmware.event('mem.alloc_failed', size=32768, caps=8, function='f'); pytest.fail('x')",
            ("INTERNAL,8BIT", 32768),
            "an allocation of 32768 bytes failed",
        ),
        (
            "firmware.event('mem.alloc_failed', size=99, caps=1024, function='f'); pytest.fail('x')",
            ("SPIRAM", 99),
            "an allocation of 99 bytes failed",
        ),
        (
            "firmware.event('mode', to='voice', ok=False, missing=4080, block='I2S DMA'); pytest.fail('x')",
            ("INTERNAL,8BIT", 4080),
            "*a block of 4080 bytes",
        ),
        (
            "firmware.event('mode', to='camera', ok=False, missing=61440, block='camera frame');"
            " pytest.fail('x')",
            ("SPIRAM", 61440),
            "*a block of 61440 bytes",
        ),
        (
            "firmware.event('mem.warning', type='FRAGMENTATION_HIGH', value=51); pytest.fail('x')",
            None,
            "fragmentation of 51 %",
        ),
        ("pytest.fail('x')", None, None),
    ],
)
def test_heap_is_drawn_when_a_test_fails_for_lack_of_memory(
    suite: Suite, trouble: str, wanted: tuple[str, int] | None, why: str | None
) -> None:
    suite.run(
        f"{TALKING}\nfrom hotpin_hil.device import DeviceError\n"
        "@requirement('AAA-01')\n"
        "def test_it(device, firmware):\n"
        "    firmware.handlers['heap.blocks'] = lambda _, args: [\n"
        "        {'heap': 1000, 'at': 1004, 'blocks': [16, -32]},\n"
        "        {'heap': 1000, 'at': 1060, 'blocks': [8], 'truncated': True},\n"
        "        {'heap': 5000, 'at': 5004, 'blocks': [-99]},\n"
        "    ]\n"
        "    firmware.handlers['heap.regions'] = lambda _, args: {'regions': [{'start': 1000}]}\n"
        f"    {trouble}\n"
    )
    maps = about(suite, "heap")
    drawn = ["INTERNAL,8BIT", "SPIRAM"] if why else []
    assert [note["caps"] for note in maps] == (drawn[::-1] if wanted and wanted[0] == "SPIRAM" else drawn)
    assert [(note["caps"], note["wanted"]) for note in maps if note["wanted"]] == ([wanted] if wanted else [])
    regions = [note["data"] for note in about(suite, "reply") if note["command"] == "heap.regions"]
    assert regions == ([{"regions": [{"start": 1000}]}] if why else [])
    for note in maps:
        assert note["heaps"] == [
            {"heap": 1000, "at": 1004, "blocks": [16, -32, 8], "truncated": True},
            {"heap": 5000, "at": 5004, "blocks": [-99], "truncated": False},
        ]
        pytest.LineMatcher([str(note["why"])]).fnmatch_lines([str(why)])
    suite.validate()


@pytest.mark.parametrize("fails", [True, False])
def test_complaints_of_a_failed_test_are_kept_with_their_boot(suite: Suite, fails: bool) -> None:
    """Lines that come before the first record of their boot must also be assigned to that boot."""
    suite.run(
        f"{TALKING}\n"
        "@requirement('AAA-01')\n"
        "def test_it(device, firmware, measure):\n"
        "    measure('temperature', 1, exact=1)\n"
        "    first = firmware.boot\n"
        "    firmware.log('too hot \\x1b[2J', level='W')\n"
        "    firmware.log('as it should be')\n"
        "    known = 'gpio_install_isr_service(97): GPIO isr service already installed'\n"
        "    firmware.log(known, tag='gpio', level='E')\n"
        "    device.channel.announce_reset()\n"
        "    firmware.output(b'\\r\\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\\r\\n')\n"
        "    firmware.log('no sensor', level='E')\n"
        "    firmware.start(banner=False)\n"
        "    device.wait_ready()\n"
        f"    assert not {fails}, (first, firmware.boot)\n"
    )
    kept = about(suite, "complaint")
    assert [str(note["text"]).partition(") ")[2] for note in kept] == (
        ["APP: too hot \\x1b[2J", "APP: no sensor"] if fails else []
    )
    if fails:
        reason = next(line["reason"] for line in suite.lines if line["kind"] == "verdict")
        assert [str(note["boot"]) for note in kept] == re.findall(r"'([0-9a-f]{8})'", reason)
    suite.validate()


def test_raw_log_and_the_end_of_a_failed_tests_console_are_kept(suite: Suite) -> None:
    suite.run(
        f"{TALKING}\n"
        "@pytest.fixture\n"
        "def _pexpect_logfile(tmp_path_factory):\n"
        "    import pathlib\n"
        "    path = pathlib.Path('build/qualification/latest/logs/dut.log').resolve()\n"
        "    path.parent.mkdir(exist_ok=True)\n"
        "    path.write_bytes(b'all of it')\n"
        "    return str(path)\n"
        "@requirement('AAA-01')\n"
        "def test_it(_pexpect_logfile, device, firmware):\n"
        "    for number in range(70): firmware.log(f'line {number} \\x1b[2J')\n"
        "    pytest.fail('x')\n"
    )
    (raw,) = about(suite, "raw")
    assert raw["file"] == "logs/dut.log"
    assert (raw["size"], raw["sha256"]) == (9, hashlib.sha256(b"all of it").hexdigest())
    (piece,) = about(suite, "slice")
    rows = str(piece["text"]).splitlines()
    assert rows[-1].endswith("line 69 \\x1b[2J")
    assert len(rows) == 60
    # 60 of 73 lines are kept: the output has a banner, the boot event and 70 log lines.
    assert piece["left_out"] == 13
    suite.validate()


def test_noise_on_the_line_is_noted(suite: Suite) -> None:
    suite.run(
        f"{TALKING}\n"
        "@requirement('AAA-01')\n"
        "def test_it(device, firmware):\n"
        "    sent = firmware.record('!', {'event': 'tts', 'state': 'end'})\n"
        "    firmware.output(sent.replace(b'end', b'enD'))\n"
        "    firmware.output(b'I (5) \\xff\\x00APP: hello\\r\\n')\n"
        "    device.probe('DMA')\n"
        "    pytest.fail('x')\n"
    )
    (noise,) = about(suite, "noise")
    assert {name: noise[name] for name in ("damaged", "lost", "repeated", "garbled")} == {
        "damaged": 1,
        "lost": 1,
        "repeated": 2,  # the reply arrives two more times, because the lost record could have been part of it
        "garbled": 1,
    }
    suite.validate()


def test_test_that_ran_twice_is_named(suite: Suite) -> None:
    suite.run("@requirement('AAA-01')\ndef test_it(measure): measure('x', 1, exact=1)\n")
    path = suite.folder / "results.jsonl"
    lines = suite.lines
    again = [line for line in lines if line.get("about") == "started"]
    path.write_text("".join(json.dumps(line) + "\n" for line in (*lines[:-1], *again, lines[-1])))
    with contextlib.suppress(SystemExit):
        main(["report", str(suite.folder)])
    assert suite.qualification["reruns"] == {again[0]["test"]: 2}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_order_is_shuffled_by_its_seed_and_verdicts_stay(suite: Suite, workers: tuple[str, ...]) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    tests = "from hotpin_hil.pytest_plugin.plugin import recorder_of\n" + "".join(
        f"@requirement('AAA-01')\ndef test_{number}(request): recorder_of(request.node).measure('x', 1, exact=1)\n"
        for number in range(9)
    )

    def order(*options: str) -> list[str]:
        assert suite.run(tests, *workers, *options, "hil_tests").ret == 0
        return list(about(suite, "plan")[0]["tests"])  # type: ignore[call-overload]

    written = order()
    shuffled = order("--order-seed", "1")
    assert written != shuffled != order("--order-seed", "2")
    assert sorted(written) == sorted(shuffled)
    assert order("--order-seed", "1") == shuffled
    assert suite.verdict("AAA-01") == "PASS"
