"""Tests of naming call sites and finding the sites of a leak, with a fake decoder that knows a few addresses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotpin_hil.analysis.allocation_sites import NamedSite, SiteNamer, leak_sources
from hotpin_hil.protocol.allocations import AllocationSite
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.machine import Machine
from hotpin_hil.symbols.places import DecodedAddress, SourcePlace

PLACES = {
    1: ("__wrap_heap_caps_malloc", "components/hil_console/src/hooks/heap_fail.c", 76),
    2: ("malloc", "/idf/components/newlib/heap.c", 23),
    3: ("pvPortMalloc", "/idf/components/freertos/heap_idf.c", 48),
    4: ("xQueueGenericCreate", "/idf/components/freertos/FreeRTOS-Kernel/queue.c", 520),
    5: ("__wrap_xQueueGenericCreate", "components/hil_console/src/hooks/idf_calls.def", 18),
    6: ("stt_pipeline_start", "/home/me/firmware/components/stt_pipeline/src/stt_pipeline.c", 96),
    7: ("run_step", "components/state_manager/src/transition.c", 40),
    8: ("nvs_open", "/idf/components/nvs_flash/src/nvs_api.cpp", 292),
    9: ("app_main", "main/main.c", 60),
    10: ("start", "/COMPONENT_AUDIO_DRIVER_DIR/src/audio_driver.c", 61),
    11: ("other", "/idf/components/main/other.c", 5),
}


class Decoder:
    """Fake decoder that knows only PLACES. The addresses are return addresses of calls on the host."""

    elf = SimpleNamespace(machine=Machine.HOST)

    def decode(self, addresses: Any) -> list[DecodedAddress]:
        return [
            DecodedAddress(address, (SourcePlace(*PLACES[address]),) if address in PLACES else ())
            for address in addresses
        ]


NAMER = SiteNamer(cast(AddressDecoder, Decoder()))


def site(
    *places: int, blocks: int = 1, size: int = 16, task: str = "state", memory: str = "internal"
) -> AllocationSite:
    return AllocationSite(task, memory, size, blocks, size, blocks, tuple(place + 1 for place in places))


@pytest.mark.parametrize(
    ("places", "name"),
    [
        ((1, 6, 7), "stt_pipeline_start, stt_pipeline.c:96"),
        ((1, 2, 6), "stt_pipeline_start, stt_pipeline.c:96"),
        ((1, 3, 4, 5, 6), "stt_pipeline_start, stt_pipeline.c:96 (in xQueueGenericCreate)"),
        ((8, 9), "app_main, main.c:60 (in nvs_open)"),
        ((10,), "start, audio_driver.c:61"),
        ((4, 8), "xQueueGenericCreate, queue.c:520"),
        ((11, 8), "other, other.c:5"),
        ((99, 6), "stt_pipeline_start, stt_pipeline.c:96"),
        ((1, 2), "an unknown site"),
        ((), "an unknown site"),
    ],
)
def test_site_is_named_after_the_projects_first_line(places: tuple[int, ...], name: str) -> None:
    assert str(NAMER.name(site(*places))) == name


def test_site_without_a_file_has_the_functions_name() -> None:
    assert str(NamedSite("f")) == "f"


def test_sites_of_one_line_are_added_up_and_the_largest_leak_comes_first() -> None:
    changes = [
        site(6, 7, blocks=10, size=160),
        site(6, 9, blocks=10, size=240),
        site(10, blocks=20, size=2_000, memory="psram"),
        site(10, blocks=20, size=100, task="main"),
    ]
    assert [str(source) for source in leak_sources(changes, 20, NAMER)] == [
        "100 B of PSRAM per cycle from start, audio_driver.c:61, task state",
        "20 B per cycle from stt_pipeline_start, stt_pipeline.c:96, task state",
        "5 B per cycle from start, audio_driver.c:61, task main",
    ]


def test_a_single_block_and_growth_within_the_budget_are_no_leak() -> None:
    changes = [
        site(6, blocks=1, size=5_000),
        site(7, blocks=2, size=20),
        site(9, blocks=-2, size=-20),
        site(10, blocks=2, size=21),
    ]
    (source,) = leak_sources(changes, 20, NAMER, budget_per_cycle=1)
    assert str(source.site) == "start, audio_driver.c:61"


def test_growth_and_release_of_the_same_line_cancel_out() -> None:
    changes = [site(6, 7, blocks=5, size=500), site(6, 9, blocks=-5, size=-500)]
    assert leak_sources(changes, 5, NAMER) == []
