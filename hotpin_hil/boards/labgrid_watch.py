"""Watches the place of a running test: its exporter may disconnect, and the coordinator may forget the place."""

from __future__ import annotations

import time
from collections.abc import Callable

from hotpin_hil.boards.labgrid_client import CoordinatorError, LabgridError, LabgridPlace, LabgridResource
from hotpin_hil.boards.labgrid_guard import ReleaseGuard
from hotpin_hil.boards.labgrid_place import AcquiredPlace, PlaceUnavailable, port_of
from hotpin_hil.boards.labgrid_settings import NAME

CHECK_S = 10.0
"""Time between two checks; one takes 0.5 s."""
BACK_S = 60.0
"""Maximum wait for an exporter that has disconnected. If it is not back by then, later tests do not wait for it. The
coordinator takes up to 15 s to restore the resources of a place."""
_POLL_S = 1.0


class PlaceWatch:
    """Checks that the place still belongs to this run and has its port."""

    def __init__(self, place: AcquiredPlace, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with a place that has just been acquired."""
        self._place = place
        self._client = place.client
        self._token = place.token
        self._guard: ReleaseGuard | None = None
        self._clock = clock
        self._next = clock() + CHECK_S
        self._may_wait = True

    def check(self) -> str | None:
        """Check the place, at most once per `CHECK_S`.

        While the coordinator is away, nobody else can acquire the place, so the tests continue. Once it is back, it
        has no record of who had the place, and `check` acquires the place again.

        Returns:
            The port; None if it was not time to check, or if the coordinator does not answer.

        Raises:
            LabgridError: the exporter of the place is not connected, another user has the place, or it was deleted.
        """
        if self._clock() < self._next:
            return None
        self._next = 0.0  # after an error the next test checks at once
        try:
            port = self._port()
        except CoordinatorError:
            port = None
        self._may_wait = True
        self._next = self._clock() + CHECK_S
        return port

    def is_away(self) -> bool:
        """Whether the exporter of the place is not connected now."""
        try:
            port_of(self._place, self._show_own())
        except PlaceUnavailable:
            self._next = 0.0
            return True
        except LabgridError:
            return False
        return False

    def release(self) -> list[str]:
        """Release the place if `check` acquired it again; returns a line for each place that could not be released."""
        return self._guard.close() if self._guard else []

    def _port(self) -> str:
        deadline = self._clock() + BACK_S
        while True:
            try:
                return port_of(self._place, self._show_own())
            except PlaceUnavailable:
                if not self._may_wait or self._clock() >= deadline:
                    self._may_wait = False
                    raise
            time.sleep(_POLL_S)

    def _show_own(self) -> list[LabgridResource]:
        """The resources of the place. Acquires it again if the coordinator has forgotten that this run has it."""
        place, resources = self._client.show(self._place.name)
        if place.name != self._place.name:  # labgrid also accepts a part of a name
            raise LabgridError(
                f"labgrid at {self._client.coordinator} no longer has the place {self._place.name}",
                "create it again, or run again",
            )
        if place.reservation == self._token and place.acquired:
            return resources
        self._acquire_again(place)
        return self._client.show(f"+{self._token}")[1]

    def _acquire_again(self, place: LabgridPlace) -> None:
        if place.acquired or place.reservation not in ("", self._token):
            raise LabgridError(
                f"labgrid's coordinator {self._client.coordinator} has given place {place.name} to "
                f"{place.acquired or 'another reservation'}: it was restarted, or the place was released by hand",
                "run again",
            )
        if self._guard is None:
            self._guard = ReleaseGuard(self._client)
        if not place.reservation:
            reservation = self._client.reserve({NAME: place.name})
            self._guard.hold(reservation.token)
            if reservation.state != "allocated":
                self._client.give_back(reservation.token)
                raise LabgridError(
                    f"another run is waiting for place {place.name} and gets it first", "run again"
                )
            self._token = reservation.token
        self._client.acquire(self._token)
