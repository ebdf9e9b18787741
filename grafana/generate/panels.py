"""The kinds of panels: each takes its unit, meaning, words and levels from the catalog.

Nothing here fills a gap: lines are not drawn across nulls, and a current value is the last point, known or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue, FieldColorModeId

from bridge.queries.catalog import METRICS, Metric
from bridge.queries.tables import Column
from bridge.queries.targets import parse
from grafana.generate import looks
from grafana.generate.datasources import Datasource

Panel = TypeVar("Panel", stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel)
AnyPanel = stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel

GRID_WIDTH = 24
POLL_INTERVAL = "15s"
"""The least step of a history: a bridge usually has no finer one."""
LAST_MINUTES = "5m"
"""Long enough to hold a poll, short enough that a step is one poll: what current values are read from."""
HISTORY_POINTS = 500
TIMELINE_POINTS = 300
MATRIX_POINTS = 120
MOST_ROWS = 500
"""Of tiles and of bars: Grafana would show 25 and hide the others, or 20 a page."""
COLUMN_METRICS = {
    "Score": "provider_health_score",
    "Reported score": "provider_reported_health_score",
    "Error rate": "provider_error_rate",
    "Availability": "provider_availability",
    "Latency": "provider_latency_seconds",
    "p95": "provider_latency_p95_seconds",
}
"""Columns of tables whose cells are coloured by a metric's levels."""
WORD_COLUMNS = ("Status", "Circuit", "State", "From", "To")
"""Columns of tables that hold words for states."""


@dataclass(frozen=True, slots=True)
class Place:
    """How large a panel is, on a grid of 24 columns."""

    width: int
    height: int


def metric_of(target: str) -> Metric:
    """The catalog's entry for a target."""
    return METRICS[parse(target).metric]


def current(source: Datasource, title: str, target: str, place: Place, *, colours: Iterable[str] = ()) -> stat.Panel:
    """A metric's values as of the last poll; series that ``colours`` names are in that word's colour."""
    panel = _dressed(stat.Panel(), source, title, target, place)
    panel.with_target(source.series(target, MATRIX_POINTS)).time_from(LAST_MINUTES).max_data_points(MATRIX_POINTS)
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.BACKGROUND_SOLID)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["last"]).values(False))
    if metric_of(target).levels is None:
        panel.color_mode(common.BigValueColorMode.NONE)
    for word in colours:
        panel.color_mode(common.BigValueColorMode.VALUE)
        colour = {"mode": "fixed", "fixedColor": looks.COLOURS[word]}
        panel.override_by_name(word, [DynamicConfigValue("color", colour)])
    return panel


def status_tiles(source: Datasource, title: str, target: str, columns: Sequence[Column], place: Place) -> stat.Panel:
    """A tile a provider in its status' colour, from the table ``providers``: worst first, by what holds now."""
    chosen = [column for column in columns if column.title in ("Provider", "Status")]
    only = DataTransformerConfig(
        id_val="filterFieldsByName", options={"include": {"names": [column.title for column in chosen]}}
    )
    panel = stat.Panel().title(title).description("Every provider's status now, worst first.")
    panel.datasource(source.ref).span(place.width).height(place.height).with_transformation(only)
    panel.with_target(source.table(target, chosen)).mappings(looks.words()).no_value(looks.NO_DATA)
    panel.color_mode(common.BigValueColorMode.BACKGROUND_SOLID).graph_mode(common.BigValueGraphMode.NONE)
    panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME).justify_mode(common.BigValueJustifyMode.CENTER)
    panel.text(common_builders.VizTextDisplayOptions().title_size(13).value_size(13))
    every_row = common_builders.ReduceDataOptions().values(True).limit(MOST_ROWS).calcs([]).fields("/^Status$/")
    return panel.reduce_options(every_row)


def history(
    source: Datasource, title: str, target: str, place: Place, *, shift: str = "", since: str = ""
) -> timeseries.Panel:
    """A metric over time: the worst point of every step, a gap where nothing is known.

    ``shift`` shows an earlier stretch of the same length (``1d``), ``since`` another length up to now (``7d``).
    """
    metric = metric_of(target)
    panel = _dressed(timeseries.Panel(), source, title, target, place)
    panel.with_target(source.series(target, HISTORY_POINTS))
    panel.max_data_points(HISTORY_POINTS).interval(POLL_INTERVAL)
    panel.span_nulls(False).show_points(common.VisibilityMode.AUTO).line_width(1).fill_opacity(0)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(_worst_first(metric)))
    panel.legend(_legend(metric))
    if metric.levels is not None:
        style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    if metric.unit in ("percent", "percentunit"):
        panel.min(0).max(100 if metric.unit == "percent" else 1)
    else:
        panel.axis_soft_min(0)
    if shift:
        panel.time_shift(shift)
    if since:
        panel.time_from(since)
    return panel


def timeline(
    source: Datasource, title: str, target: str, place: Place, *, points: int = TIMELINE_POINTS
) -> statetimeline.Panel:
    """A metric's states as coloured bars with their words; for quantities, the levels they are on."""
    panel = _dressed(statetimeline.Panel(), source, title, target, place)
    panel.with_target(source.series(target, points)).max_data_points(points).interval(POLL_INTERVAL)
    panel.per_page(MOST_ROWS).merge_values(True).row_height(0.8).line_width(0).fill_opacity(85).color_scheme(
        looks.by_level()
    )
    panel.show_value(common.VisibilityMode.AUTO).align_value(common.TimelineValueAlignment.LEFT)
    legend = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(True)
    panel.legend(legend.placement(common.LegendPlacement.BOTTOM).calcs([]))
    return panel


def rows(
    source: Datasource,
    title: str,
    target: str,
    columns: Sequence[Column],
    place: Place,
    *,
    description: str,
    when_empty: str = looks.NO_DATA,
    link: str = "",
    marks: Mapping[str, Sequence[DynamicConfigValue]] | None = None,
) -> table.Panel:
    """A table. ``link`` is where a provider's name leads, ``marks`` are further settings of columns."""
    panel = table.Panel().title(title).description(description).datasource(source.ref)
    panel.with_target(source.table(target, columns)).span(place.width).height(place.height)
    panel.no_value(when_empty).align(common.FieldTextAlignment.AUTO).show_header(True).cell_height(
        common.TableCellHeight.SM
    )
    for column in columns:
        settings = [*_column_settings(column), *(marks or {}).get(column.title, ())]
        if column.title == "Provider" and link:
            settings.append(DynamicConfigValue("links", [{"title": "How is ${__value.text}?", "url": link}]))
        panel.override_by_name(column.title, settings)
    return panel


def _dressed(panel: Panel, source: Datasource, title: str, target: str, place: Place) -> Panel:
    metric = metric_of(target)
    meaning = metric.meaning[0].upper() + metric.meaning[1:]
    panel.title(title).description(f"{meaning}. ({metric.name})").datasource(source.ref)
    panel.span(place.width).height(place.height)
    panel.unit(metric.unit).mappings(looks.mappings(metric)).thresholds(looks.levels(metric))
    panel.color_scheme(looks.by_level()).no_value(looks.NO_DATA)
    for transformation in source.series_transformations:
        panel.with_transformation(transformation)
    return panel


def _legend(metric: Metric) -> common_builders.VizLegendOptions:
    """Each series with its worst point, the worst series first."""
    legend = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.TABLE).show_legend(True)
    legend.placement(common.LegendPlacement.BOTTOM).calcs(["min" if metric.worst == "low" else "max", "last"])
    return legend.sort_by("Min" if metric.worst == "low" else "Max").sort_desc(metric.worst != "low")


def _worst_first(metric: Metric) -> common.SortOrder:
    return common.SortOrder.ASCENDING if metric.worst == "low" else common.SortOrder.DESCENDING


def _column_settings(column: Column) -> list[DynamicConfigValue]:
    """A column's unit and colours; a time that is not there says nothing, a number that is not there is not known."""
    settings: list[DynamicConfigValue] = []
    if column.unit:
        settings.append(DynamicConfigValue("unit", column.unit))
    if column.type == "number":
        settings.append(DynamicConfigValue("noValue", looks.NO_DATA))
    else:
        settings.append(DynamicConfigValue("noValue", "–"))
    if column.title in WORD_COLUMNS:
        settings += looks.coloured()
    elif column.title in COLUMN_METRICS:
        settings += looks.coloured(looks.levels(METRICS[COLUMN_METRICS[column.title]]))
    return settings
