"""Draws a mode transition as a waterfall: the memory that each step allocates or frees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hotpin_hil.report.chart import FAINT, GREEN, INK, LINE, RED, Chart, Table, drawing, finish, label, plain

KB = 1024
MEMORIES = ("internal", "psram")
"""Memory types in the firmware's ledger."""
NAMES = {"internal": "internal RAM", "psram": "PSRAM"}


@dataclass(frozen=True)
class Step:
    """One step of a mode transition, or its rollback, with the free bytes before and after (`mode.ledger`)."""

    step: str
    undo: bool
    err: str
    internal_before: int
    internal_after: int
    psram_before: int
    psram_after: int

    @property
    def ok(self) -> bool:
        return self.err == "ESP_OK"

    @property
    def label(self) -> str:
        return f"undo {self.step}" if self.undo else self.step

    def change(self, memory: str) -> int:
        """Change of free bytes by the step; negative if the step allocates."""
        return int(getattr(self, f"{memory}_after") - getattr(self, f"{memory}_before"))


def waterfall_chart(steps: Sequence[Step], name: str, title: str) -> Chart:
    """Draw the steps of one transition (at least one) from top to bottom."""
    with drawing(70 + 19 * len(steps), columns=(1, 1)) as (figure, panels):
        for memory, axes in zip(MEMORIES, panels, strict=True):
            _draw(axes, memory, steps)
        panels[0].set_yticks(
            range(len(steps)), [_sign(step) + label(step.label) for step in steps], color=INK
        )
        panels[1].set_yticks([])
        return finish(figure, name, title, _in_words(steps), _table(steps))


def _draw(axes: Any, memory: str, steps: Sequence[Step]) -> None:
    plain(axes, grid="x")
    levels = [getattr(step, f"{memory}_{when}") / KB for step in steps for when in ("before", "after")]
    low, high = min(levels), max(levels)
    room = max(high - low, 1) * 0.45
    for row, step in enumerate(steps):
        before, after = (getattr(step, f"{memory}_{when}") / KB for when in ("before", "after"))
        change = step.change(memory)
        colour = GREEN if change > 0 else RED
        axes.barh(row, after - before, left=before, height=0.6, color=colour if change else FAINT)
        if not change:
            axes.plot([before], [row], marker="|", color=FAINT, markersize=9)
        if row + 1 < len(steps):
            axes.plot([after, after], [row + 0.3, row + 0.7], color=LINE, linewidth=0.8)
        text = f"{change:+,} B" if change else "0"
        axes.text(max(before, after) + room / 20, row, text, va="center", fontsize=8, color=INK)
    axes.set_xlim(low - room / 10, high + room)
    axes.set_ylim(len(steps) - 0.5, -0.5)
    axes.set_xlabel(f"free {NAMES[memory]}, KB")


def _sign(step: Step) -> str:
    return "" if step.ok else "✕ "


def _in_words(steps: Sequence[Step]) -> str:
    parts = []
    for memory in MEMORIES:
        first, last = getattr(steps[0], f"{memory}_before"), getattr(steps[-1], f"{memory}_after")
        parts.append(f"Free {NAMES[memory]}: {first:,} B before, {last:,} B after ({last - first:+,} B).")
    failed = [f"{step.label} failed with {step.err}" for step in steps if not step.ok]
    return " ".join([*parts, *(f"{text}." for text in failed)])


def _table(steps: Sequence[Step]) -> Table:
    columns = ["step", "result"]
    for memory in MEMORIES:
        columns += [f"{NAMES[memory]} before, B", "after, B", "change, B"]
    rows = []
    for step in steps:
        row = [step.label, step.err]
        for memory in MEMORIES:
            before, after = getattr(step, f"{memory}_before"), getattr(step, f"{memory}_after")
            row += [f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else "0"]
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows))
