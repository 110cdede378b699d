"""Small results of the suite for two releases: memory, transitions, ledgers, leaks, sizes, measurements."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.model import MeasurementClass, Verdict
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.requirements import Requirement

SUITE = "hil_tests/test_small.py"
CYCLES = f"{SUITE}::test_cycles"
MODES = tuple(f"{SUITE}::test_modes[{number}]" for number in range(6))
COST = f"{SUITE}::test_cost"
IDS = {"TRN-03": MODES, "TRN-04": (CYCLES, COST), "PERF-05": (COST,)}
"""Requirement → its tests; one test has two requirements."""

INTERNAL_START, PSRAM_START = 288_895, 4_186_268
VOICE_INTERNAL, VOICE_PSRAM = 98_544, 131_084
"""Bytes that voice mode uses."""
STATIC_DRAM = 28_944
DURATION_MS = 212
MANAGER_B = 2_000


@dataclass(frozen=True)
class SmallRun:
    """A run of the suite on firmware with known figures."""

    seed: int = 0
    """Seed of the differences between two runs of one build."""
    build: str = "a" * 64
    evidence: str = "emulated"
    voice_more: int = 0
    """Additional bytes in voice mode."""
    leak: int = 0
    """Bytes leaked per cycle."""
    slower: float = 1
    static_more: int = 0
    lost: str = ""
    """Requirement whose tests fail."""
    without: str = ""
    """Requirement that is left out of the suite."""
    is_part: bool = False
    manager_limit: int = 3_071

    def write(self, folder: Path) -> Path:
        """Write results.jsonl into the folder."""
        folder.mkdir(parents=True)
        text = "".join(json.dumps(line.as_json()) + "\n" for line in self.lines())
        (folder / "results.jsonl").write_text(text, encoding="utf-8")
        return folder

    def lines(self) -> Iterator[lines.ResultsLine]:
        """The lines of the run."""
        scatter = random.Random(self.seed)
        ids = [id_ for id_ in IDS if id_ != self.without]
        tests = {test: tuple(id_ for id_ in ids if test in IDS[id_]) for test in (*MODES, CYCLES, COST)}
        kind = {"virtual": "virtual", "emulated": "qemu", "hardware": "hardware"}[self.evidence]
        yield lines.RunLine(
            run=f"{scatter.getrandbits(32):08x}-0000-0000-0000-000000000000",
            evidence=self.evidence,
            started="2025-01-01T00:00:00+00:00",
            board={"kind": kind},
            firmware={"project": "hotpin", "version": "1", "idf": "v5.4", "elf_sha256": self.build},
            harness={"version": "1", "python": "3", "packages": {}},
            requirements=tuple(
                Requirement(id_, f"text of {id_}", "source", "must", ("hardware", "qemu", "virtual"))
                for id_ in ids
            ),
        )
        yield lines.PlanNote(tests)
        if self.is_part:
            yield lines.SelectionNote("only a part of the suite was selected")
        for test, served in tests.items():
            yield lines.StartedNote(test, served, "main")
            yield from self._test(test, served, scatter)
            word = Verdict.FAIL if self.lost in served else Verdict.PASS
            reason = "it failed" if self.lost in served else ""
            yield lines.VerdictLine(test, served, word, reason, "", f"pytest {test}")
        yield self._sizes()
        yield lines.EndLine(1 if self.lost else 0, "2025-01-01T00:01:00+00:00")

    def _test(self, test: str, ids: tuple[str, ...], scatter: random.Random) -> Iterator[lines.ResultsLine]:
        taken: list[lines.ResultsLine] = []
        measure = Recorder(test, ids, taken.append).measure
        if test in MODES:
            yield from self._voice(test, scatter, measure)
        elif test == CYCLES:
            readings = [190_000.0 - self.leak * cycle for cycle in range(60)]
            yield lines.SeriesNote(test, None, "internal free", "B", tuple(readings), 1.024)
            boot = f"{scatter.getrandbits(32):08x}"
            measure("boot id", boot, "", exact=boot)
        else:
            measure("total bytes, as reported", MANAGER_B, "B", max=self.manager_limit)
        yield from taken

    def _voice(self, test: str, scatter: random.Random, measure: Any) -> Iterator[lines.ResultsLine]:
        moment = lines.Moment(test, "24:0a:c4:00:00:01", f"{scatter.getrandbits(32):08x}", 5_000)
        # NVS allocates another 132 bytes after every few dozen boots.
        start = INTERNAL_START - scatter.choice((0, 0, 0, 132))
        voice = start - VOICE_INTERNAL - self.voice_more
        duration = round((DURATION_MS + scatter.choice((-2, -1, 0, 1, 2))) * self.slower)
        yield _sample(moment, "System Boot", start, PSRAM_START)
        yield _sample(moment, "After Voice Transition", voice, PSRAM_START - VOICE_PSRAM)
        change = {"from": "camera", "to": "voice", "ok": True, "duration_ms": duration, "step": None}
        yield lines.EventNote(moment, "voice", "mode", change)
        steps = (("camera.stop", -37_784, -62_816), ("audio.start", 25_996 + self.voice_more, 0))
        ledger = [_step(name, *bytes_taken) for name, *bytes_taken in steps]
        yield lines.ReplyNote(moment, "voice", "mode.ledger", {"ledger": ledger})
        measure("to voice, claimed", duration, "ms", max=979)
        measure("voice task's internal RAM taken", VOICE_INTERNAL + self.voice_more, "B", max=200_000)

    def _sizes(self) -> lines.SizesNote:
        static = STATIC_DRAM + self.static_more
        return lines.SizesNote(
            klass=MeasurementClass.MEASURED,
            image=lines.WITH_CONSOLE,
            elf_sha256=self.build,
            source="ELF file",
            first_heap=0x3FFB0000 + static,
            static_dram=static,
            data=9_752,
            bss=19_192 + self.static_more,
            iram=54_375,
            iram_end=0x40090000,
            flash_code=160_268,
            flash_data=60_636,
            image_size=285_168,
            idf_size={
                "tool": "t",
                "total": 1,
                "memory": {"DRAM": {"used": static, "total": 1}},
            },
            not_measured=(),
        )


def _sample(moment: lines.Moment, context: str, internal: int, psram: int) -> lines.EventNote:
    data: dict[str, Any] = {"context": context, "snapshot": 1, "timestamp_ms": 1, "boxes_dropped": 0}
    for memory, free in (("internal", internal), ("dma", internal), ("psram", psram)):
        data |= {f"{memory}_free": free, f"{memory}_largest": free // 2, f"{memory}_fragmentation": 1}
    data |= {"total_free": internal + psram, "total_minimum_free": internal + psram}
    data |= dict.fromkeys(("delta_internal", "delta_dma", "delta_psram", "delta_total"), 0)
    return lines.EventNote(moment, "voice", "mem.sample", data)


def _step(name: str, internal: int, psram: int) -> dict[str, Any]:
    before = {"internal_before": 200_000, "psram_before": 4_000_000}
    after = {"internal_after": 200_000 - internal, "psram_after": 4_000_000 - psram}
    return {"step": name, "undo": False, "err": "ESP_OK", **before, **after}
