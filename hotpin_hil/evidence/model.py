"""Measurements, limits and verdicts: frozen records and the arithmetic between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeGuard

from hotpin_hil.compat import StrEnum

if TYPE_CHECKING:
    from typing_extensions import Unpack

Value = int | float | bool | str
"""A measured value. Only exact limits apply to booleans and strings."""

NUMBER_MAX = 2.0**64
"""Largest magnitude of a number in the results. A larger one becomes text, like NaN and infinity."""

MARGINAL_SHARE = 0.10
"""A value within a max or min limit is MARGINAL if its margin is below this share of the limit."""


class Verdict(StrEnum):
    """The result of a test or a requirement, for one board and one build (docs/verdicts.md)."""

    FAIL = "FAIL"
    UNSET = "UNSET"
    BLOCKED = "BLOCKED"
    WAIVED = "WAIVED"
    MARGINAL = "MARGINAL"
    PASS = "PASS"
    NOT_APPLICABLE = "NOT APPLICABLE"


PASSED = (Verdict.WAIVED, Verdict.MARGINAL, Verdict.PASS)
"""Verdicts that let a requirement pass."""

_WORST_FIRST = list(Verdict)
"""The verdicts in the order of their definition: FAIL outweighs all others, and NOT APPLICABLE outweighs none."""


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The worst of these verdicts; None if there are none."""
    return min(verdicts, key=_WORST_FIRST.index, default=None)


class LimitKind(StrEnum):
    """How a limit bounds a value."""

    MAX = "max"
    MIN = "min"
    RANGE = "range"
    EXACT = "exact"


class MeasurementClass(StrEnum):
    """MODELLED values echo a constant of a board profile, so they never make a requirement PASS."""

    MEASURED = "measured"
    MODELLED = "modelled"


@dataclass(frozen=True)
class Limit:
    """A limit on a measured value; all bounds are inclusive.

    `value` applies to max, min and exact; `low` and `high` to range.
    """

    kind: LimitKind
    value: Value | None = None
    low: float | None = None
    high: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            TypeError: A bound is missing, or is not a finite number.
        """
        if self.kind is LimitKind.RANGE:
            _number(self.low)
            _number(self.high)
        elif self.kind is not LimitKind.EXACT or isinstance(self.value, float):
            _number(self.value)
        elif not isinstance(self.value, (int, str)):
            raise TypeError(f"an exact limit must be a number, a boolean or a string, but is {self.value!r}")

    def margin(self, measured: Value) -> float | None:
        """Distance from `measured` to the limit, in the limit's unit; negative outside it, None for exact limits."""
        if self.kind is LimitKind.EXACT or not is_number(measured):
            return None
        number = float(measured)
        if self.kind is LimitKind.MAX:
            return _whole(float(_number(self.value)) - number)
        if self.kind is LimitKind.MIN:
            return _whole(number - float(_number(self.value)))
        return _whole(min(number - float(_number(self.low)), float(_number(self.high)) - number))

    def judge(self, measured: Value) -> Verdict:
        """The verdict on a value: PASS, MARGINAL or FAIL."""
        if self.kind is LimitKind.EXACT:
            # Python's True equals 1, but firmware that sends 1 instead of true is wrong.
            same = isinstance(measured, bool) == isinstance(self.value, bool) and measured == self.value
            return Verdict.PASS if same else Verdict.FAIL
        margin = self.margin(measured)
        if margin is None or margin < 0:
            return Verdict.FAIL
        if self.kind is not LimitKind.RANGE and margin < MARGINAL_SHARE * abs(float(_number(self.value))):
            return Verdict.MARGINAL
        return Verdict.PASS

    def as_json(self) -> dict[str, Any]:
        """The limit as a JSON-serializable dict, without the bounds that it does not use."""
        fields = {"value": self.value, "low": self.low, "high": self.high}
        given = {name: json_value(value) for name, value in fields.items() if value is not None}
        return {"kind": self.kind.value, **given, "source": self.source}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Limit:
        """The limit that this JSON data describes."""
        return cls(
            LimitKind(row["kind"]), row.get("value"), row.get("low"), row.get("high"), row.get("source", "")
        )


class LimitArguments(TypedDict, total=False):
    """Arguments that define a limit: exactly one of `max`, `min`, `exact`, or `low` with `high`; all inclusive.

    source: where the limit comes from (a requirement, a datasheet, a recording).
    """

    max: float
    min: float
    low: float
    high: float
    exact: Value
    source: str


def make_limit(**arguments: Unpack[LimitArguments]) -> Limit:
    """Build the limit that these arguments define.

    Raises:
        TypeError: an argument is unknown, they do not define exactly one limit, or a bound has a wrong type.
    """
    unknown = arguments.keys() - LimitArguments.__annotations__.keys()
    if unknown:
        raise TypeError(f"a measurement has no argument {', '.join(sorted(unknown))}")
    source = arguments.get("source", "")
    if ("low" in arguments) != ("high" in arguments):
        raise TypeError("a range limit needs both low= and high=")
    given = [name for name in ("max", "min", "low", "exact") if name in arguments]
    if len(given) != 1:
        raise TypeError(
            f"a measurement needs exactly one limit of max=, min=, low=+high=, exact=; got {given or 'none'}"
        )
    if "low" in arguments:
        return Limit(LimitKind.RANGE, low=arguments["low"], high=arguments["high"], source=source)
    if "max" in arguments:
        return Limit(LimitKind.MAX, value=arguments["max"], source=source)
    if "min" in arguments:
        return Limit(LimitKind.MIN, value=arguments["min"], source=source)
    return Limit(LimitKind.EXACT, value=arguments["exact"], source=source)


@dataclass(frozen=True)
class Measurement:
    """One value against one limit.

    `boot` (id) and `t` (ms since boot) give the time of the measurement on the board, if known.
    """

    test: str
    requirement: tuple[str, ...]
    name: str
    value: Value
    unit: str
    limit: Limit
    klass: MeasurementClass = MeasurementClass.MEASURED
    board: str | None = None
    boot: str | None = None
    t: int | None = None
    is_waived: bool = False
    """Whether a waiver covers the value, which is outside its limit."""

    @property
    def verdict(self) -> Verdict:
        """PASS, MARGINAL, WAIVED or FAIL."""
        return Verdict.WAIVED if self.is_waived else self.limit.judge(self.value)

    def __str__(self) -> str:
        limit = limit_text(self.limit, self.unit)
        return f"{self.name} = {with_unit(self.value, self.unit)}, limit {limit}"


class Judged(Protocol):
    """A measurement with its verdict."""

    @property
    def verdict(self) -> Verdict:
        """PASS, MARGINAL, WAIVED or FAIL."""

    @property
    def klass(self) -> MeasurementClass:
        """Whether the value is measured or modelled."""


def judge_all(measurements: Iterable[Judged]) -> Verdict:
    """The verdict of one test on one requirement, from all its measurements; UNSET if there are none."""
    found = list(measurements)
    if any(each.verdict is Verdict.FAIL for each in found):
        return Verdict.FAIL
    measured = [each.verdict for each in found if each.klass is MeasurementClass.MEASURED]
    if found and not measured:
        return Verdict.NOT_APPLICABLE
    return worst(measured) or Verdict.UNSET


def with_unit(value: object, unit: str) -> str:
    """A value for display: `12 B`, `true`, `text`; an empty string is `""`."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = str(value) if value != "" else '""'
    return f"{text} {unit}".strip()


def limit_text(limit: Limit, unit: str) -> str:
    """The limit for display: `<= 1000 us`, `3..5 B`, `= true`."""
    if limit.kind is LimitKind.RANGE:
        return f"{with_unit(limit.low, '')}..{with_unit(limit.high, unit)}"
    sign = {LimitKind.MAX: "<=", LimitKind.MIN: ">=", LimitKind.EXACT: "="}[limit.kind]
    return f"{sign} {with_unit(limit.value, unit)}"


def json_value(value: Value) -> Value:
    """The value as a plain JSON type. NaN, infinity and numbers beyond NUMBER_MAX become strings.

    Raises:
        TypeError: the value is not a number, a boolean or a string.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if is_number(value) else f"{value:#x}"  # str() refuses more than 4,300 digits
    if isinstance(value, float):
        return float(value) if is_number(value) else str(value)
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"a measured value must be a number, a boolean or a string, but is {value!r}")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether the value is a number that the results can hold; false for NaN, infinity and booleans."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= NUMBER_MAX


def _number(value: Value | None) -> float:
    if value is None or isinstance(value, (bool, str)) or not is_number(value):
        raise TypeError(f"a limit must be a finite number, but is {value!r}")
    return value


def _whole(number: float) -> float:
    """Convert 51200.0 to 51200, so that bytes stay integers."""
    return int(number) if number.is_integer() else number
