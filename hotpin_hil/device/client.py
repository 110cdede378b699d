"""The firmware's commands as methods; `help` and firmware/README.md ("The test console") list the commands."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from hotpin_hil.device import budgets
from hotpin_hil.device.console import Console
from hotpin_hil.device.errors import BoardReset
from hotpin_hil.protocol.allocations import (
    AllocationCost,
    AllocationProfile,
    TaskAllocations,
    parse_allocation_profile,
    parse_task_allocations,
)
from hotpin_hil.protocol.answers import (
    Adaptation,
    AutoOptimization,
    BenchTimes,
    BoardInfo,
    Capture,
    Frame,
    HeapMap,
    Hold,
    LastBoot,
    LearnedState,
    LedgerEntry,
    MemoryEvent,
    Mode,
    ModeFailure,
    Monitor,
    Optimization,
    Pin,
    Placement,
    Pools,
    Prediction,
    Predictions,
    Probe,
    Reclaimers,
    Region,
    Resources,
    Sandwich,
    SelfCost,
    Settle,
    Snapshot,
    Sound,
    TaskPriorities,
    Thresholds,
    TtsState,
    parse_answer,
    parse_heap_maps,
    parse_pools,
    parse_priorities,
    parse_reclaimers,
    parse_resources,
    parse_snapshots,
)
from hotpin_hil.protocol.fields import MemoryStats
from hotpin_hil.protocol.memory_history import FlashHistory, parse_flash_history

Caps = str | Sequence[str]
"""Capability set: "DMA,8BIT" or ["DMA", "8BIT"]."""


class Device(Console):
    """Console client of one board.

    Every method raises the errors of `Console.command`, and ProtocolError if a reply does not have the expected fields.
    Methods that restart the board also raise the errors of `Console.wait_ready`.
    """

    # --- system ---

    def info(self) -> BoardInfo:
        """Board identity: project, build, chip, reset reason."""
        return parse_answer(BoardInfo, self.command("sys.info"), "sys.info")

    def last(self) -> LastBoot:
        """The snapshots that survived the last reset, newest first, with the reset reason."""
        reply = self.command("sys.last")
        return parse_answer(LastBoot, {**reply, "snapshots": parse_snapshots(reply, "sys.last")}, "sys.last")

    def reboot(self) -> BoardInfo:
        """Restart the firmware and wait until it is ready."""
        return self._restart("sys.reboot")

    def panic(self, kind: str) -> BoardInfo:
        """Crash the firmware (abort, null, store, stack, wdt, task_wdt, heap, iram) and wait until it has restarted."""
        return self._restart("sys.panic", kind=kind)

    def panic_at(self, kind: str, step: str) -> None:
        """Crash the firmware the next time this step of a mode transition starts ("undo:NAME": its rollback)."""
        self.command("sys.panic", kind=kind, step=step)

    def tasks(self) -> int:
        """Number of tasks."""
        return int(self.command("sys.tasks")["tasks"])

    def stack_unused(self) -> dict[str, int]:
        """Bytes of stack that each permanent task has never used, by task name."""
        unused: dict[str, int] = self.command("sys.tasks")["stack_unused"]
        return unused

    def priorities(self) -> dict[str, int]:
        """Priority of each task by name: of the permanent tasks, and of the tasks of the mode's drivers."""
        priorities: dict[str, int] = self.command("sys.tasks")["priorities"]
        return priorities

    def cores(self) -> dict[str, int]:
        """Core of each task that is pinned to one, by name; of the same tasks as `priorities`."""
        cores: dict[str, int] = self.command("sys.tasks")["cores"]
        return cores

    def hold_lock(self, what: str, ms: int) -> None:
        """After the reply, have a task hold the lock of the drivers or of the output for `ms` of board time."""
        self.command("sys.lock", what=what, ms=ms)

    def pins(self) -> dict[int, Pin]:
        """The state of each pin that the firmware has set, by pin number."""
        return {row[0]: Pin(bool(row[1]), *row[2:]) for row in self.command("gpio.tap")["pins"]}

    def resources(self) -> Resources:
        """The resources that the firmware holds now: blocks, tasks, queues, drivers, settings."""
        return parse_resources(self.command("sys.resources"), "sys.resources")

    def fail_call(
        self,
        call: str | None = None,
        *,
        nth: int | None = None,
        count: int | None = None,
        boot: bool = False,
        frame: str | None = None,
        off: bool = False,
    ) -> dict[str, Any]:
        """Make calls to an ESP-IDF function fail.

        Args:
            call: name of the function; None lists those that can fail.
            nth: the first call that fails, counted from now.
            count: number of failures.
            boot: arm the fault for the next boot, and count calls from the start of app_main. Survives a software
                reset, but not a power-on.
            frame: failing calls of esp_camera_fb_get return a frame with this fault: cut, start, end, size, stale.
            off: disarm the fault.

        Returns:
            `calls` (the list), `armed`, `seen`, `failed`.
        """
        return self.command(
            "sys.fail", call=call, nth=nth, count=count, boot=boot or None, frame=frame, off=off or None
        )

    def flip_rtc(self, at: int, step: int | None = None) -> int:
        """Flip the lowest bit of one or more bytes of the RTC memory that survives a reset.

        Args:
            at: offset of the byte.
            step: also flip the bit in every `step`-th byte after it.

        Returns:
            The number of flipped bits.
        """
        return int(self.command("sys.rtc", at=at, step=step)["flipped"])

    def find_in_rtc(self, word: int) -> list[int]:
        """Offsets in the RTC memory that survives a reset where this 32-bit number is stored."""
        return [int(at) for at in self.command("sys.rtc", find=word)["found"]]

    def _restart(self, command: str, **args: Any) -> BoardInfo:
        with suppress(BoardReset):  # the reset may happen before the reply arrives
            self.command(command, **args)
        return self.wait_ready()

    # --- modes ---

    def mode(self) -> Mode:
        """The current mode."""
        return _mode(self.command("mode.get"), "mode.get")

    def set_mode(self, to: str, *, wait: bool = True) -> Mode:
        """Change the mode.

        Args:
            to: "camera" or "voice".
            wait: wait until the board has settled.

        Raises:
            DeviceError: the transition failed; the message names the step.
        """
        reply = self.command("mode.set", timeout_s=budgets.MODE_S, to=to, wait=wait or None)
        return _mode(reply, "mode.set")

    def mode_steps(self, to: str, start: str | None = None) -> list[str]:
        """Names of the steps from the mode `start` (None: the current one) to the mode `to`, in order."""
        arguments: dict[str, Any] = {"to": to, "from": start}  # "from" is a Python keyword
        return [str(step) for step in self.command("mode.steps", **arguments)["steps"]]

    def ledger(self) -> list[LedgerEntry]:
        """The steps of the last mode transition, with free memory before and after each."""
        entries = self.command("mode.ledger")["ledger"]
        return [parse_answer(LedgerEntry, entry, "mode.ledger") for entry in entries]

    def settle(self, *, down: int | None = None, up: int | None = None, default: bool = False) -> Settle:
        """Set the pauses in a mode transition (ms); without arguments only read them."""
        reply = self.command("mode.settle", down=down, up=up, default=default or None)
        return parse_answer(Settle, reply, "mode.settle")

    def capture(self) -> Frame:
        """Take a picture, in camera mode."""
        return parse_answer(
            Frame, self.command("camera.capture", timeout_s=budgets.SLOW_REPLY_S), "camera.capture"
        )

    def recording(self) -> Capture:
        """Read the progress of the microphone's capture, in voice mode."""
        return parse_answer(Capture, self.command("stt.get"), "stt.get")

    def read_recording(self, size: int, *, skip: bool = False) -> bytes:
        """Take up to `size` bytes of recorded samples (16 bits, little endian) out of the ring, or only drop them."""
        return b"".join(map(bytes.fromhex, self.command("stt.read", bytes=size, skip=skip or None)["data"]))

    def sound(self, *, reset: bool = False, sample: int | None = None) -> Sound:
        """Digests of the played and the recorded sound since the audio driver's start or `reset`.

        Args:
            reset: start the digests again, and use the microphone's samples again.
            sample: the only value, -32,768 to 32,767, that the microphone gives from now on.
        """
        bits = None if sample is None else sample % 2**16
        reply = self.command("audio.tap", reset=reset or None, sample=bits)
        return parse_answer(Sound, reply, "audio.tap")

    # --- memory manager ---

    def stats(self) -> MemoryStats:
        """A memory sample, taken now."""
        return parse_answer(MemoryStats, self.command("mem.stats"), "mem.stats")

    def log(self, context: str, count: int | None = None) -> int:
        """Log the statistics, or `count` times with the contexts "CONTEXT 1" to "CONTEXT N" in one command.

        Returns:
            The longest time that one call blocked its task on the board, in µs.
        """
        timeout_s = budgets.REPLY_S if count is None else budgets.SLOW_REPLY_S
        return int(self.command("mem.log", timeout_s=timeout_s, context=context, count=count)["held_us"])

    def monitor(self, *, start: int | None = None, stop: bool = False) -> Monitor:
        """Start monitoring with an interval in ms, stop it, or read its state (no arguments)."""
        reply = self.command("mem.monitor", start=start, stop=stop or None)
        return parse_answer(Monitor, reply, "mem.monitor")

    def thresholds(self, *, default: bool = False, **levels: int) -> Thresholds:
        """Set some of the eight thresholds, restore the defaults, or only read them; returns the current ones."""
        reply = self.command("mem.thresholds", default=default or None, **levels)
        return parse_answer(Thresholds, reply, "mem.thresholds")

    def check(self, *, dma: int | None = None, psram: int | None = None) -> bool:
        """Result of memory_manager_check_dma_available or _psram_available for one block of this size."""
        return bool(self.command("mem.check", dma=dma, psram=psram)["available"])

    def place(self, caps: Caps, sizes: Iterable[int]) -> Placement:
        """Whether these blocks can be allocated together."""
        reply = self.command("mem.place", timeout_s=budgets.SLOW_REPLY_S, caps=caps, sizes=list(sizes))
        return parse_answer(Placement, reply, "mem.place")

    def baseline(self, *, set: bool = False, state: str | None = None) -> dict[str, Any]:
        """Read the baseline, of this `state` if one is given; with `set`, set it first."""
        return self.command("mem.baseline", set=set or None, state=state)

    def optimize(self) -> Optimization:
        """Get the manager's advice and run the reclaimers."""
        reply = self.command("mem.optimize", timeout_s=budgets.SLOW_REPLY_S)
        return parse_answer(Optimization, {**reply, "advice": tuple(reply.get("advice", ()))}, "mem.optimize")

    def task_priorities(
        self,
        *,
        work: int | None = None,
        under: int | None = None,
        busy: int | None = None,
        wait: int | None = None,
        end: bool = False,
        off: bool = False,
    ) -> TaskPriorities:
        """Read the tasks with pressure-dependent priorities, after an optional action of the test's worker.

        Args:
            work: start a worker with this priority on the audio core; it holds a mutex.
            under: its priority while memory is critical.
            busy: CPU use, ms of every 500 ms.
            wait: ms that the console waits for the worker's mutex.
            end: end the worker without unregistering it.
            off: unregister and end it.
        """
        reply = self.command(
            "mem.priority",
            timeout_s=budgets.SLOW_REPLY_S,
            work=work,
            under=under,
            busy=busy,
            wait=wait,
            end=end or None,
            off=off or None,
        )
        return parse_priorities(reply)

    def pools(
        self,
        *,
        create: str | None = None,
        block: int | None = None,
        count: int | None = None,
        caps: Caps | None = None,
        heap: bool = False,
        take: int | None = None,
        give: int | None = None,
        misuse: str | None = None,
        interrupts: int | None = None,
        plays: int | None = None,
        source: str | None = None,
        bench: int | None = None,
        off: bool = False,
    ) -> Pools:
        """Read the memory pools, after an optional action on the test's own pool.

        Args:
            create: name of a pool to create.
            block: bytes of each of its blocks.
            count: number of its blocks.
            caps: capabilities of its memory.
            heap: the pool falls back to the heap when it is empty.
            take: number of blocks to allocate.
            give: number of blocks to free, oldest first.
            misuse: call memory_pool_free wrongly: double, stale, foreign, inside, null.
            interrupts: number of interrupts that allocate and free a block, while the console does the same.
            plays: number of audio streams of mixed lengths to play, in chunks of mixed sizes.
            source: "pool" or "heap": where `plays` allocates the chunks.
            bench: number of pairs of allocation and free to time, with the pool and then with the heap.
            off: delete the test's pool, and free what `plays` has left allocated.
        """
        arguments: dict[str, Any] = {"from": source}  # "from" is a Python keyword
        reply = self.command(
            "mem.pool",
            timeout_s=budgets.BENCH_REPLY_S,
            create=create,
            block=block,
            count=count,
            caps=caps,
            heap=heap or None,
            take=take,
            give=give,
            misuse=misuse,
            interrupts=interrupts,
            plays=plays,
            bench=bench,
            off=off or None,
            **arguments,
        )
        return parse_pools(reply)

    def reclaimers(
        self,
        caps: Caps | None = None,
        *,
        add: str | None = None,
        size: int | None = None,
        cost: int | None = None,
        start: str | None = None,
        nested: bool = False,
        request: int | None = None,
        watch: int | None = None,
        off: bool = False,
    ) -> Reclaimers:
        """Read the reclaimers and their last uses, after an optional change.

        Args:
            caps: memory that `add`, `request` or `watch` refers to.
            add: name of a reclaimer to register; it allocates a block now and frees it when it runs. If it was added
                before, it only gets another block.
            size: bytes of that block; None: the reclaimer has nothing to free.
            cost: cost of that reclaimer.
            start: mildest trigger of that reclaimer: low (None), critical, failure, refusal, request.
            nested: that reclaimer requests memory while it runs.
            request: bytes of a block that reclaimers must make room for.
            watch: minimum size of allocations that run reclaimers if they fail.
            off: remove the added reclaimers.
        """
        arguments: dict[str, Any] = {"from": start, "for": request}  # "from" and "for" are Python keywords
        reply = self.command(
            "mem.reclaim",
            timeout_s=budgets.SLOW_REPLY_S,
            caps=caps,
            add=add,
            size=size,
            cost=cost,
            nested=nested or None,
            watch=watch,
            off=off or None,
            **arguments,
        )
        return parse_reclaimers(reply)

    def adapt(self, *, on: bool | None = None, forget: bool = False) -> Adaptation:
        """Switch adaptive thresholds on or off, forget the learned values (at the next sample), or only read them."""
        reply = self.command(
            "mem.adapt", on=on or None, off=True if on is False else None, forget=forget or None
        )
        states = tuple(parse_answer(LearnedState, row, "mem.adapt") for row in reply["states"])
        return parse_answer(Adaptation, {**reply, "states": states}, "mem.adapt")

    def predict(self) -> Predictions:
        """When falling memory is predicted to reach its thresholds, and the cost of the prediction itself."""
        reply = self.command("mem.predict")
        rows = tuple(parse_answer(Prediction, row, "mem.predict") for row in reply["predictions"])
        return parse_answer(Predictions, {**reply, "predictions": rows}, "mem.predict")

    def auto_optimize(self, on: bool) -> AutoOptimization:
        """Switch automatic optimisation on or off; returns its state."""
        return parse_answer(
            AutoOptimization, self.command("mem.optimize", auto="on" if on else "off"), "mem.optimize"
        )

    def history(self, last: int | None = None) -> tuple[Snapshot, ...]:
        """The latest snapshots (None: all that are kept), newest first."""
        return parse_snapshots(self.command("mem.history", last=last), "mem.history")

    def flash_history(
        self,
        last: int | None = None,
        *,
        every_s: int | None = None,
        pause: bool | None = None,
        write: int | None = None,
        erase: bool = False,
    ) -> FlashHistory:
        """Read the history in flash, after an optional change.

        Args:
            last: number of rows to read (None: all; with `write` or `erase`: none).
            every_s: new time between rows, s.
            pause: stop or continue writing rows.
            write: number of rows to write now.
            erase: first erase all rows.
        """
        reply = self.command(
            "mem.history",
            timeout_s=budgets.SLOW_REPLY_S,
            store="flash",
            last=last,
            every=every_s,
            pause=None if pause is None else "on" if pause else "off",
            write=write,
            erase=erase or None,
        )
        return parse_flash_history(reply, "mem.history")

    def mem_events(self, since: int | None = None) -> list[MemoryEvent]:
        """Warnings, recoveries and failed allocations with a sequence number above `since`, oldest first."""
        events = self.command("mem.events", since=since)["events"]
        return [parse_answer(MemoryEvent, event, "mem.events") for event in events]

    def self_cost(self) -> SelfCost:
        """Memory and CPU time used by the memory manager itself."""
        return parse_answer(SelfCost, self.command("mem.self"), "mem.self")

    def api(self, case: str) -> str:
        """Run an edge case of the API on the board; returns the error's name, or "ESP_OK"."""
        return str(self.command("mem.api", case=case)["err"])

    def callbacks(
        self,
        *,
        add: int | None = None,
        remove: int | None = None,
        reset: bool = False,
        log: bool = False,
        call: str | None = None,
        go: bool = False,
    ) -> dict[str, Any]:
        """Register callbacks that record their calls, or read the calls recorded so far.

        Args:
            add: number of callbacks to register.
            remove: number of a callback to unregister, from 0.
            reset: delete the recorded calls.
            log: the first callback also calls the manager's log and query functions.
            call: the first callback calls this function of the API, or blocks ("block").
            go: unblock the callback.

        Returns:
            `registered`, `count`, and `calls`: a list of {callback, kind, type, value, threshold, timestamp_ms};
            `can_call`: the names for `call`; `called`: the first error of these calls; `blocked`.
        """
        return self.command(
            "mem.callbacks",
            add=add,
            remove=remove,
            reset=reset or None,
            log=log or None,
            call=call,
            go=go or None,
        )

    # --- heap ---

    def probe(self, caps: Caps) -> Probe:
        """Read one capability set directly, bypassing the memory manager."""
        return parse_answer(Probe, self.command("heap.probe", caps=caps), "heap.probe")

    def sandwich(self, caps_list: Sequence[str], around: str = "mem.stats") -> Sandwich:
        """Read up to 4 capability sets, run the command `around`, and read the sets again, without interruption."""
        reply = self.command("heap.probe", caps=";".join(caps_list), around=around)
        readings = [
            {caps: parse_answer(Probe, reply[when][caps], f"heap.probe {when}") for caps in caps_list}
            for when in ("before", "after")
        ]
        return Sandwich(readings[0], reply["claim"], readings[1])

    def regions(self) -> list[Region]:
        """Every heap of the board, by address."""
        reply = self.command("heap.regions", timeout_s=budgets.SLOW_REPLY_S)
        regions = [parse_answer(Region, item, "heap.regions") for item in reply["regions"]]
        return sorted(regions, key=lambda region: region.start)

    def blocks(self, caps: Caps) -> list[HeapMap]:
        """Every block of the heaps with these capabilities."""
        return parse_heap_maps(self.command_parts("heap.blocks", timeout_s=budgets.SLOW_REPLY_S, caps=caps))

    def hold(
        self, caps: Caps, *, size: int | None = None, leave: int | None = None, block: int | None = None
    ) -> Hold:
        """Allocate one block of `size` bytes, or blocks (of at most `block`) until `leave` bytes are free."""
        reply = self.command(
            "heap.hold", timeout_s=budgets.SLOW_REPLY_S, caps=caps, size=size, leave=leave, block=block
        )
        return parse_answer(Hold, reply, "heap.hold")

    def resize(self, id: int, size: int) -> Hold:
        """Change the size of a hold of one block with heap_caps_realloc; a hold that cannot grow is unchanged."""
        return parse_answer(Hold, self.command("heap.resize", id=id, size=size), "heap.resize")

    def split(self, caps: Caps, block: int, count: int | None = None) -> Hold:
        """Allocate `count` blocks (None or 0: as many as fit) and free every second one."""
        budget = budgets.SLOW_REPLY_S
        reply = self.command("heap.split", timeout_s=budget, caps=caps, block=block, count=count)
        return parse_answer(Hold, reply, "heap.split")

    def release(self, id: int | None = None) -> int:
        """Free one hold, or all; returns the number of bytes released."""
        reply = self.command(
            "heap.release", timeout_s=budgets.SLOW_REPLY_S, id=id, all=True if id is None else None
        )
        return int(reply["released"])

    def fail(
        self,
        caps: Caps | None = None,
        *,
        nth: int | None = None,
        count: int | None = None,
        also: int | None = None,
        step: Caps | None = None,
        boot: bool = False,
        off: bool = False,
    ) -> dict[str, Any]:
        """Make allocations or steps of a mode transition fail.

        Args:
            caps: capabilities of the allocations.
            nth: the first matching allocation that fails, counted from now.
            count: number of failures.
            also: number of another allocation that fails, counted like `nth`.
            boot: in the next boot, counted from memory_manager_init(); survives a software reset, not a power-on.
            step: steps whose next `count` entries fail ("undo:NAME" for a rollback).
            off: disarm all faults.

        Returns:
            `armed`, `seen`, `failed`, `steps_armed`, `steps_failed`.
        """
        return self.command(
            "heap.fail",
            caps=caps,
            nth=nth,
            count=count,
            also=also,
            step=step,
            boot=boot or None,
            off=off or None,
        )

    def leak(
        self, caps: Caps | None = None, *, bytes: int | None = None, every: str = "cycle", off: bool = False
    ) -> dict[str, Any]:
        """Leak a block per return to camera mode (`every`="cycle") or per sample, or stop; returns `id`, `leaked`."""
        if off:
            return self.command("heap.leak", off=True)
        return self.command("heap.leak", caps=caps, bytes=bytes, every=every)

    # --- allocation profile: only the image with it has this command ---

    def profile(self, *, since_mark: bool = False) -> AllocationProfile:
        """Memory in use, by call site; with `since_mark` only the sites that changed, and their changes."""
        since = "mark" if since_mark else None
        reply = self.command("mem.profile", timeout_s=budgets.SLOW_REPLY_S, by="site", since=since)
        return parse_allocation_profile(reply, "mem.profile")

    def profile_tasks(self, *, since_mark: bool = False) -> tuple[TaskAllocations, ...]:
        """Memory in use, by task."""
        since = "mark" if since_mark else None
        reply = self.command("mem.profile", timeout_s=budgets.SLOW_REPLY_S, by="task", since=since)
        return parse_task_allocations(reply, "mem.profile")

    def profile_mark(self) -> int:
        """Set the mark that `since_mark` counts from; returns the board's uptime, ms."""
        return int(self.command("mem.profile", mark=1)["marked_ms"])

    def profile_fill(self) -> None:
        """Fill the table of call sites, so that allocations at new sites are counted without a site."""
        self.command("mem.profile", timeout_s=budgets.SLOW_REPLY_S, fill=1)

    def profile_cost(self, pairs: int) -> AllocationCost:
        """Time `pairs` pairs of allocation and free (at most 10,000) with the profile and without."""
        reply = self.command("mem.profile", timeout_s=budgets.SLOW_REPLY_S, cost=pairs)
        return parse_answer(AllocationCost, reply, "mem.profile")

    # --- TTS ---

    def tts_open(self, bytes: int | None = None) -> TtsState:
        """Open a stream of this size (None: the default)."""
        return parse_answer(TtsState, self.command("tts.open", bytes=bytes), "tts.open")

    def tts_write(self, data: bytes) -> TtsState:
        """Write audio data to the stream."""
        reply = self.command("tts.write", data=base64.b64encode(data).decode())
        return parse_answer(TtsState, reply, "tts.write")

    def tts_play(self, *, wait: bool = False) -> TtsState:
        """Start playing the stream, in voice mode; with `wait`, return only at its end."""
        reply = self.command("tts.play", timeout_s=budgets.PLAY_S, wait=wait or None)
        return parse_answer(TtsState, reply, "tts.play")

    def tts_close(self) -> TtsState:
        """Close the stream and free its buffer."""
        return parse_answer(TtsState, self.command("tts.close"), "tts.close")

    # --- load and benchmarks ---

    def log_load(
        self,
        tasks: int | None = None,
        lines: int | None = None,
        *,
        every_ms: int | None = None,
        stop: bool = False,
    ) -> dict[str, Any]:
        """Start tasks that log a line every `every_ms`, `lines` times (None: until stopped), or stop them."""
        return self.command("log.load", tasks=tasks, lines=lines, every=every_ms, stop=stop or None)

    def bench(self, what: str, n: int) -> BenchTimes:
        """Time `n` runs of "get_stats", "threshold" or "log" on the board."""
        reply = self.command("bench.run", timeout_s=budgets.BENCH_REPLY_S, what=what, n=n)
        return parse_answer(BenchTimes, reply, "bench.run")


def _mode(reply: dict[str, Any], what: str) -> Mode:
    failed = parse_answer(ModeFailure, reply["failed"], what) if "failed" in reply else None
    return parse_answer(Mode, {**reply, "failed": failed}, what)
