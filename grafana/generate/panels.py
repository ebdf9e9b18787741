"""The kinds of panels: each takes its unit, meaning, words and levels from the catalog.

Nothing here fills a gap: lines are not drawn across nulls, and a current value is the last point, known or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue, FieldColorModeId

from bridge.queries.catalog import METRICS, STATUS_WORDS, Metric
from bridge.queries.tables import FRESHNESS_COLUMNS, Column
from bridge.queries.targets import parse
from grafana.generate import looks
from grafana.generate.datasources import Datasource

Panel = TypeVar("Panel", stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel)
AnyPanel = stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel

GRID_WIDTH = 24
HISTORY_POINTS = 500
TIMELINE_POINTS = 300
MATRIX_POINTS = 120
MOST_TILES = 500
"""Grafana would show 25 and hide the others."""
BARS_PER_PAGE = 20
"""Of more, one is too thin to read."""
TIME_UNIT = "dateTimeAsIso"
"""Grafana's own format shows milliseconds where all rows lie within a minute."""
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
MAY_NEVER_BE = ("Open since", "First opened", "Published")
"""Columns in which nothing is an answer too: what never opened has no such time, and not all is published."""

FRESHNESS_STATES = ("fresh", "stale", "never read")


@dataclass(frozen=True, slots=True)
class Place:
    """How large a panel is, on a grid of 24 columns."""

    width: int
    height: int


def metric_of(target: str) -> Metric:
    """The catalog's entry for a target."""
    return METRICS[parse(target).metric]


def current(source: Datasource, title: str, metric: str, place: Place) -> stat.Panel:
    """A fleet metric's value as of now."""
    panel = _tiles(_dressed(stat.Panel(), source, title, metric, place)).display_name(title)
    panel.with_target(source.now(metric))
    if metric_of(metric).levels is None:
        panel.color_mode(common.BigValueColorMode.NONE)
    return panel


def current_by_status(source: Datasource, title: str, metric: str, place: Place) -> stat.Panel:
    """A metric's value as of now for every status, each in that status' colour."""
    [label] = metric_of(metric).labels
    matrix = {"columnField": label, "rowField": "Time", "valueField": "Value", "emptyValue": "null"}
    panel = _tiles(_dressed(stat.Panel(), source, title, metric, place)).color_mode(common.BigValueColorMode.VALUE)
    panel.with_target(source.now(metric, label))
    panel.with_transformation(DataTransformerConfig(id_val="groupingToMatrix", options=matrix))
    for word in STATUS_WORDS.values():
        colour = {"mode": "fixed", "fixedColor": looks.COLOURS[word]}
        # A name of its own: the matrix' columns share the settings, and so the name, of the column Value.
        panel.override_by_name(word, [DynamicConfigValue("displayName", word), DynamicConfigValue("color", colour)])
    return panel


def freshness(source: Datasource, place: Place) -> stat.Panel:
    """Whether what the dashboard shows is of now, in words: on it all else depends."""
    panel = _of_rows(source, "freshness", FRESHNESS_COLUMNS, ("State", "Text"), place)
    panel.title("Data").description("Whether the gateway could be read: fresh, stale (since when and why) or never.")
    for state in FRESHNESS_STATES:
        # Grafana takes a row's colour from what overrides its name, and a text's row is named by the other column.
        colour = {"mode": "fixed", "fixedColor": looks.COLOURS[state]}
        panel.override_by_name(state, [DynamicConfigValue("color", colour)])
    return panel


def status_tiles(source: Datasource, title: str, target: str, columns: Sequence[Column], place: Place) -> stat.Panel:
    """A tile a provider in its status' colour, from the table ``providers``: worst first, by what holds now."""
    panel = _of_rows(source, target, columns, ("Provider", "Status"), place)
    return panel.title(title).description("Every provider's status now, worst first.").mappings(looks.words())


def _of_rows(
    source: Datasource, target: str, columns: Sequence[Column], chosen: tuple[str, str], place: Place
) -> stat.Panel:
    """A tile for every row of a table: named by the first of the chosen columns, with the text of the second."""
    only = DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(chosen)}})
    panel = _tiles(stat.Panel().datasource(source.ref).span(place.width).height(place.height))
    panel.with_target(source.table(target, [column for column in columns if column.title in chosen]))
    panel.with_transformation(only).mappings([looks.not_known()]).no_value(looks.NO_DATA)
    panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME).justify_mode(common.BigValueJustifyMode.CENTER)
    panel.text(common_builders.VizTextDisplayOptions().title_size(13).value_size(13))
    text = f"/^{chosen[1]}$/"
    every_row = common_builders.ReduceDataOptions().values(True).limit(MOST_TILES).calcs([]).fields(text)
    return panel.reduce_options(every_row)


def _tiles(panel: stat.Panel) -> stat.Panel:
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.BACKGROUND_SOLID)
    return panel.reduce_options(common_builders.ReduceDataOptions().calcs(["last"]).values(False))


def history(
    source: Datasource, title: str, target: str, place: Place, *, shift: str = "", since: str = ""
) -> timeseries.Panel:
    """A metric over time: the worst point of every step, a gap where nothing is known.

    ``shift`` shows an earlier stretch of the same length (``1d``), ``since`` another length up to now (``7d``).
    """
    metric = metric_of(target)
    panel = _dressed(timeseries.Panel(), source, title, target, place)
    panel.with_target(source.series(target, HISTORY_POINTS))
    panel.max_data_points(HISTORY_POINTS)
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
    """A metric's states as coloured bars with their words; for quantities, every point in the colour of its level."""
    metric = metric_of(target)
    panel = _dressed(statetimeline.Panel(), source, title, target, place)
    panel.with_target(source.series(target, points)).max_data_points(points)
    panel.per_page(BARS_PER_PAGE).row_height(0.8).line_width(0).fill_opacity(85)
    # Where Grafana merges values whose colours come from thresholds, it draws the thresholds instead of the values: all
    # states would be one bar. Their colours come with their words.
    panel.merge_values(bool(metric.words))
    if metric.words:
        panel.color_scheme(FieldColor().mode(FieldColorModeId.FIXED).fixed_color(looks.UNKNOWN))
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
    panel.mappings([looks.not_known()]).no_value(when_empty)
    panel.align(common.FieldTextAlignment.AUTO).show_header(True).cell_height(common.TableCellHeight.SM)
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
    """A column's unit and colours, and what stands for null; an empty text is a dash."""
    settings: list[DynamicConfigValue] = []
    unit = TIME_UNIT if column.type == "time" else column.unit
    if unit:
        settings.append(DynamicConfigValue("unit", unit))
    if column.title == "Value":  # Grafana would head it with its table's name
        settings.append(DynamicConfigValue("displayName", column.title))
    settings.append(DynamicConfigValue("noValue", looks.NO_DATA if column.type == "number" else looks.NOTHING))
    if column.title in WORD_COLUMNS:
        settings += looks.coloured()
    elif column.title in COLUMN_METRICS:
        settings += looks.coloured(looks.levels(METRICS[COLUMN_METRICS[column.title]]))
    else:
        null = looks.NOTHING if column.title in MAY_NEVER_BE else looks.NO_DATA
        settings.append(DynamicConfigValue("mappings", [looks.not_known(null)]))
    return settings
