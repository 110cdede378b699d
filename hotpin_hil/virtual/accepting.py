"""Accepts the clients of a listening socket, even while the process has no file handles left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from hotpin_hil.errors import host_remedy

PAUSE_S = 0.2
"""Pause after a shortage. The client stays in the queue of the socket, so without a pause the event loop would spin."""


def accept(listener: socket.socket, on_client: Callable[[], None]) -> socket.socket | None:
    """Accept a client; None if none is waiting, or if the process has no file handle left for it.

    Args:
        listener: the socket, which the running event loop watches.
        on_client: the loop's callback for a waiting client.
    """
    try:
        client, _ = listener.accept()
        return client
    except OSError as error:  # the client may have disconnected already
        if host_remedy(error):
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(PAUSE_S, _watch_again, loop, listener, on_client)
        return None


def _watch_again(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, on_client: Callable[[], None]
) -> None:
    if listener.fileno() >= 0:
        loop.add_reader(listener, on_client)
