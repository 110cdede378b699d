"""Operations on TTS streams."""

from __future__ import annotations

import base64
import io
import wave

from hypothesis import strategies as st

from tests.model.game import Game, operation
from tests.model.memory import expect
from tests.model.operations_log import optimize
from tests.model.operations_mode import PLENTY, has_plenty
from tests.model.watcher import Snapshot

TTS_BUFFER, TTS_REQUIRED = 65_536, 98_304
HEADER_SLACK = 16
"""Maximum overhead of a block in bytes: its header, and a remainder too small for another block."""
SPEECH_RATE = 16_000


@operation(frames=st.integers(1, 40), speak=st.integers(0, 2))
def tts_open(game: Game, frames: int, speak: int) -> None:
    """Open a stream, which allocates 64 KB of PSRAM if another 32 KB remain free. `speak`: 1 plays the stream at once,
    2 also lets a reclaimer close it afterwards."""
    figures, watcher = game.known(), game.watcher
    if figures["internal_largest"] < PLENTY["internal"]:
        return
    if game.stream is not None:
        game.agree(False, "ESP_ERR_INVALID_STATE", "tts.open", bytes=100)
        return
    good = figures["psram_free"] >= TTS_REQUIRED and figures["psram_largest"] >= TTS_BUFFER
    watcher.memory.changes()
    game.forget_sum()
    watcher.logged.append(Snapshot("Before TTS Allocation", figures))
    if good:
        watcher.logged.append(Snapshot("After TTS Allocation"))
    game.agree(good, "ESP_ERR_NO_MEM", "tts.open", bytes=len(_wav(frames)))
    game.settle()
    if not watcher.schedule.interval_ms:
        game.run(50_000)
    costs = figures["total_free"] - game.probe()["total_free"]
    expect(
        (TTS_BUFFER + 4 <= costs <= TTS_BUFFER + HEADER_SLACK) if good else costs == 0,
        f"tts.open took {costs} bytes",
    )
    if good:
        game.stream = {"costs": costs, "frames": frames, "ended": False}
        if speak:
            tts_speak(game)
        if speak > 1:
            optimize(game)


@operation()
def tts_speak(game: Game) -> None:
    """Write the stream's sound and play it to its end."""
    stream = game.stream
    if stream is None:
        game.agree(False, "ESP_ERR_INVALID_STATE", "tts.write", data="AAAA")
        return
    if stream["ended"] or not has_plenty(game):
        return
    free = game.known()["total_free"]
    if game.mode != "voice":
        game.agree(False, "ESP_ERR_INVALID_STATE", "tts.play")
        return
    game.watcher.memory.changes()
    game.forget_sum()
    game.good("tts.write", data=base64.b64encode(_wav(stream["frames"])).decode())
    reply = game.good("tts.play", wait=1)
    expect(reply["samples"] == stream["frames"], f"{stream['frames']} frames were written: {reply}")
    stream["ended"] = True
    stream["costs"] += free - game.probe()["total_free"]


@operation()
def tts_close(game: Game) -> None:
    """Close the stream, which must free all its memory."""
    free = game.known()["total_free"]
    if game.stream is None:
        game.agree(False, "ESP_ERR_INVALID_STATE", "tts.close")
        return
    game.watcher.memory.changes()
    game.forget_sum()
    game.good("tts.close")
    back = game.probe()["total_free"] - free
    expect(back == game.stream["costs"], f"the stream took {game.stream['costs']} bytes, its end gave {back}")
    game.stream = None


def _wav(frames: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SPEECH_RATE)
        sound.writeframes(bytes(2 * frames))
    return file.getvalue()
