"""How values look: colours, words for states, and levels, all as the catalog declares them."""

from __future__ import annotations

from collections.abc import Iterable

from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    DynamicConfigValue,
    FieldColorModeId,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

from bridge.queries.catalog import CIRCUIT_WORDS, STATUS_WORDS, Metric

HEALTHY, DEGRADED, DOWN, UNKNOWN = "#009E73", "#E69F00", "#D55E00", "#999999"
"""From the palette of Okabe and Ito, which readers with colour blindness can tell apart too."""
COLOURS = {
    "CLOSED": HEALTHY,
    "HALF_OPEN": DEGRADED,
    "OPEN": DOWN,
    "healthy": HEALTHY,
    "degraded": DEGRADED,
    "down": DOWN,
    "unknown": UNKNOWN,
    "fresh": HEALTHY,
    "stale": DOWN,
    "never read": UNKNOWN,
}
NO_DATA, NOTHING = "no data", "–"
"""What stands for null, and for an empty text or for null where that is an answer."""


def mappings(metric: Metric) -> list[ValueMapping]:
    """A state's numbers as words in colour, and what is not known as such."""
    return _named({str(number): word for number, word in metric.words.items()})


def words(names: Iterable[str] = (*CIRCUIT_WORDS.values(), *STATUS_WORDS.values())) -> list[ValueMapping]:
    """The words that tables use, in the same colours."""
    named = {name: name for name in names}
    return [*_named(named), _empty(len(named) + 1)]


def not_known(text: str = NO_DATA, index: int = 0) -> ValueMapping:
    """Null in words and in grey: without it Grafana paints null in the colour of the lowest threshold."""
    result = ValueMappingResult(text=text, color=UNKNOWN, index=index)
    return SpecialValueMap(DashboardSpecialValueMapOptions(match=SpecialValueMatch.NULL_AND_NAN, result=result))


def _empty(index: int) -> ValueMapping:
    result = ValueMappingResult(text=NOTHING, color="transparent", index=index)
    return SpecialValueMap(DashboardSpecialValueMapOptions(match=SpecialValueMatch.EMPTY, result=result))


def _named(named: dict[str, str]) -> list[ValueMapping]:
    return [_value_map(named), not_known(index=len(named))] if named else [not_known()]


def _value_map(named: dict[str, str]) -> ValueMap:
    return ValueMap(
        {
            value: ValueMappingResult(text=word, color=COLOURS[word], index=index)
            for index, (value, word) in enumerate(named.items())
        }
    )


def levels(metric: Metric) -> ThresholdsConfig:
    """The catalog's levels as Grafana's thresholds, of which each holds from its value upwards."""
    if metric.levels is None:
        steps = [Threshold(None, UNKNOWN if metric.words else HEALTHY)]
    elif metric.worst == "low":
        degraded, down = metric.levels
        steps = [Threshold(None, DOWN), Threshold(down, DEGRADED), Threshold(degraded, HEALTHY)]
    else:
        degraded, down = metric.levels
        steps = [Threshold(None, HEALTHY), Threshold(degraded, DEGRADED), Threshold(down, DOWN)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def by_level() -> FieldColor:
    """Colour by the thresholds."""
    return FieldColor().mode(FieldColorModeId.THRESHOLDS)


def coloured(metric_levels: ThresholdsConfig | None = None) -> list[DynamicConfigValue]:
    """A table's cells with a coloured background: by words, or by these thresholds."""
    background = [
        DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
        DynamicConfigValue("custom.displayMode", "color-background"),  # what Grafana 9.4 reads instead
    ]
    if metric_levels is None:
        return [*background, DynamicConfigValue("mappings", words())]
    return [
        *background,
        DynamicConfigValue("mappings", [not_known()]),
        DynamicConfigValue("thresholds", metric_levels.build()),
        DynamicConfigValue("color", by_level().build()),
    ]
