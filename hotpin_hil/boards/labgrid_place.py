"""A labgrid place as a board: its serial port and its power switch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hotpin_hil.boards.labgrid_client import LabgridClient, LabgridError, LabgridResource
from hotpin_hil.boards.power import PowerSwitch

SERIAL = "NetworkSerialPort"
RFC2217 = "rfc2217"

_HOST = re.compile(r"[0-9A-Za-z_.:%-]+")


class PlaceUnavailable(LabgridError):
    """The exporter of a place is not connected, or does not see the board."""


@dataclass(frozen=True)
class AcquiredPlace:
    """A place that the run has acquired."""

    program: str
    coordinator: str
    name: str
    token: str
    """The reservation through which the run acquired it."""

    @property
    def client(self) -> LabgridClient:
        """labgrid-client for its coordinator."""
        return LabgridClient(self.program, self.coordinator)


def port_of(place: AcquiredPlace, resources: Sequence[LabgridResource]) -> str:
    """URL of the place's serial port.

    Raises:
        PlaceUnavailable: the exporter is not connected, or does not see the board.
        LabgridError: the place has no port that the harness can use.
    """
    show = f"{place.client.by_hand('-p', place.name, 'show')} shows it"
    ports = [resource for resource in resources if resource.cls == SERIAL]
    if len(ports) != 1:
        raise LabgridError(
            f"place {place.name} has {len(ports) or 'no'} {SERIAL}{'s' if len(ports) > 1 else ''}",
            f"change its matches so that they match exactly one; {show}",
        )
    (port,) = ports
    if port.params is None:
        raise PlaceUnavailable(
            f"labgrid's exporter {port.exporter} of place {place.name} is not connected to {place.coordinator}",
            "start labgrid-exporter there again; the run uses the board as soon as it is back",
        )
    if not port.is_available:
        raise PlaceUnavailable(
            f"labgrid's exporter {port.exporter} does not see the board of place {place.name}",
            "plug it in; the run uses the board as soon as it is back",
        )
    extra, host, number = port.params.get("extra"), port.params.get("host"), port.params.get("port")
    if isinstance(extra, dict) and extra.get("proxy_required"):
        raise LabgridError(
            f"place {place.name} can only be reached through SSH (its exporter is isolated)",
            "export it without --isolated, or forward its port and name it with --port",
        )
    protocol = port.params.get("protocol", RFC2217)
    if protocol != RFC2217:
        raise LabgridError(
            f"the port of place {place.name} has protocol {protocol!r}, which cannot reset the board",
            f"set protocol: {RFC2217} in its exporter's configuration",
        )
    if not isinstance(host, str) or not _HOST.fullmatch(host) or not isinstance(number, int):
        raise LabgridError(
            f"the port of place {place.name} has no usable address: {host!r}:{number!r}",
            f"correct its exporter; {show}",
        )
    # `ign_set_control`, as in labgrid's own driver: some servers never confirm a change of the control lines.
    return f"{RFC2217}://{f'[{host}]' if ':' in host else host}:{number}?ign_set_control"


def power_of(place: AcquiredPlace, resources: Sequence[LabgridResource]) -> PowerSwitch | None:
    """The place's power switch, which labgrid drives; None if it has none."""
    if not any(item.cls.endswith("PowerPort") or item.cls == "PDUDaemonPort" for item in resources):
        return None

    def command(action: str) -> str:
        return shlex.join(place.client.command(f"--place={place.name}", "power", action))

    return PowerSwitch(
        board=place.name,
        off_command=command("off"),
        on_command=command("on"),
        cycle_command=command("cycle"),
    )
