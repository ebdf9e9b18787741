"""The two dashboards, for each datasource: the provider directory, and the overview for who is on call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.dashboard import Threshold

from bridge.queries import tables
from grafana.generate import looks
from grafana.generate.datasources import Datasource, Json
from grafana.generate.panels import (
    AnyPanel,
    Place,
    current,
    current_by_status,
    freshness,
    history,
    rows,
    status_tiles,
    timeline,
)

DIRECTORY, ON_CALL = "provider-health-directory", "provider-health-on-call"
TITLES = {DIRECTORY: "Provider directory", ON_CALL: "Providers: on call"}
NOW = "Now: as of the last poll, whatever time range is chosen"
TAG = "provider-health-bridge"
REFRESH = "15s"

PROVIDER = '{provider=~"${provider:regex}"}'
MODEL = '{provider=~"${provider:regex}",model=~"${model:regex}"}'
NOT_HEALTHY = '{provider=~"${provider:regex}",status!="healthy"}'
NOT_CLOSED = '{provider=~"${provider:regex}",model=~"${model:regex}",state!="CLOSED"}'
CIRCUIT_CHANGES = '{kind="circuit",provider=~"${provider:regex}",model=~"${model:regex}"}'
BY_PROVIDER, BY_MODEL = " as {{provider}}", " as {{provider}} / {{model}}"
ANNOTATIONS = f"incident{PROVIDER},gateway"

FLAPPING = [
    Threshold(None, "transparent"),
    Threshold(2, looks.DEGRADED),
    Threshold(5, looks.DOWN),
]
"""How often a circuit opened in 24 hours: from the second time on it flaps."""


def uid(name: str, source: Datasource) -> str:
    """A dashboard's uid for one datasource."""
    return name + source.suffix


def directory(source: Datasource) -> dashboard.Dashboard:
    """Every provider: how it is, how it went, and its circuits."""
    board = _board(DIRECTORY, source, "now-1h", "Every provider: how it is now, how it went, and its circuits.")
    return _filled(
        board,
        source,
        (
            (NOW, _fleet(source)),
            ("", _directory_now(source)),
            ("History: the worst point of every step, a gap where nothing is known", _directory_history(source)),
            ("Circuits and availability", _directory_states(source)),
        ),
    )


def on_call(source: Datasource) -> dashboard.Dashboard:
    """Three questions at three in the morning."""
    board = _board(ON_CALL, source, "now-3h", "What is wrong, since when and why, and whether it is worse than usual.")
    return _filled(
        board,
        source,
        (
            (NOW, _fleet(source)),
            ("Which provider is degrading right now, and is it one model or all of them?", _degrading(source)),
            ("This breaker is open: for how long, since when, why, and is it flapping?", _breakers(source)),
            ("Is this spike a blip or a real regression?", _blip_or_regression(source)),
            ("Why: each number behind a verdict, and what was published but not believed", _why(source)),
        ),
    )


def _fleet(source: Datasource) -> Iterator[AnyPanel]:
    small = Place(4, 4)
    yield freshness(source, Place(24, 3))
    yield current_by_status(source, "Providers by status", "fleet_providers", Place(8, 4))
    yield current(source, "Open circuits", "fleet_open_circuits", small)
    yield current(source, "Fleet health", "fleet_health_score", small)
    yield current(source, "Fleet error rate", "fleet_error_rate", small)
    yield current(source, "Age of the data", "gateway_data_age_seconds", small)


def _directory_now(source: Datasource) -> Iterator[AnyPanel]:
    yield status_tiles(source, "Status", f"providers{PROVIDER}", tables.PROVIDERS_COLUMNS, Place(24, 9))
    yield rows(
        source,
        "Providers",
        f"providers{PROVIDER}",
        tables.PROVIDERS_COLUMNS,
        Place(24, 12),
        description="A row a provider, worst first, as of now. What is not known is empty, never 0.",
        link=_link_to(ON_CALL, source),
    )


def _directory_history(source: Datasource) -> Iterator[AnyPanel]:
    half = Place(12, 10)
    yield history(source, "Health score", f"provider_health_score{PROVIDER}{BY_PROVIDER}", half)
    yield history(source, "Error rate", f"provider_error_rate{PROVIDER}{BY_PROVIDER}", half)
    yield history(source, "Latency, 95th percentile", f"provider_latency_p95_seconds{PROVIDER}{BY_PROVIDER}", half)
    yield history(source, "Error rate by model", f"model_error_rate{MODEL}{BY_MODEL}", half)
    yield history(source, "Requests", f"provider_request_rate{PROVIDER}{BY_PROVIDER}", half)
    reported = f"provider_reported_health_score{PROVIDER}{BY_PROVIDER}"
    yield history(source, "Health score as the gateway reports it", reported, half)


def _directory_states(source: Datasource) -> Iterator[AnyPanel]:
    tall = Place(24, 16)
    worst = f"provider_circuit_breaker_state{PROVIDER}{BY_PROVIDER}"
    yield timeline(source, "Circuits: the worst of each provider", worst, tall)
    yield timeline(source, "Circuits by model", f"model_circuit_breaker_state{MODEL}{BY_MODEL}", Place(24, 22))
    available = f"provider_availability{PROVIDER}{BY_PROVIDER}"
    yield timeline(source, "Availability", available, tall, points=120)


def _degrading(source: Datasource) -> Iterator[AnyPanel]:
    yield rows(
        source,
        "Providers that are not healthy",
        f"providers{NOT_HEALTHY}",
        tables.PROVIDERS_COLUMNS,
        Place(24, 7),
        description="Worst first, as of now. 'Open circuits' tells one model from all of them: 1 of 4, or 4 of 4.",
        when_empty="No provider is known to be unhealthy",
        link=_link_to(ON_CALL, source),
    )
    half = Place(12, 9)
    yield history(source, "Open circuits", f"provider_open_circuits{PROVIDER}{BY_PROVIDER}", half)
    yield history(source, "Error rate by model", f"model_error_rate{MODEL}{BY_MODEL}", half)


def _breakers(source: Datasource) -> Iterator[AnyPanel]:
    flapping = looks.coloured(builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(FLAPPING))
    yield rows(
        source,
        "Circuits that are not CLOSED",
        f"circuits{NOT_CLOSED}",
        tables.CIRCUITS_COLUMNS,
        Place(24, 7),
        description="As of now, the longest OPEN first. 'First opened' is when the outage began, tries in between"
        " included; two openings or more in 24 hours (yellow), five or more (red): it flaps.",
        when_empty="No circuit is known to be open",
        link=_link_to(ON_CALL, source),
        marks={"Opens 24h": flapping},
    )
    yield timeline(
        source,
        "Circuits of each provider: bars that alternate are flapping",
        f"provider_circuit_breaker_state{PROVIDER}{BY_PROVIDER}",
        Place(12, 14),
    )
    yield rows(
        source,
        "Every opening and closing in this range, newest first",
        f"transitions{CIRCUIT_CHANGES}",
        tables.TRANSITIONS_COLUMNS,
        Place(12, 14),
        description="When each circuit changed, from what to what, and why.",
        when_empty="No circuit changed in this range",
    )
    by_model = f"model_circuit_breaker_state{MODEL}{BY_MODEL}"
    yield timeline(source, "Circuits by model", by_model, Place(24, 16))


def _blip_or_regression(source: Datasource) -> Iterator[AnyPanel]:
    third = Place(8, 9)
    shifts = (("this range", ""), ("the same time yesterday", "1d"), ("the same time 7 days before", "7d"))
    for name, target in (
        ("Health score", f"provider_health_score{PROVIDER}{BY_PROVIDER}"),
        ("Error rate", f"provider_error_rate{PROVIDER}{BY_PROVIDER}"),
    ):
        for when, shift in shifts:
            yield history(source, f"{name}: {when}", target, third, shift=shift)
    week = f"provider_health_score{PROVIDER}{BY_PROVIDER}"
    yield history(
        source, "Health score: the worst of every 20 minutes of the last 7 days", week, Place(24, 9), since="7d"
    )


def _why(source: Datasource) -> Iterator[AnyPanel]:
    yield rows(
        source,
        "Evidence",
        f"explain{PROVIDER}",
        tables.EXPLAIN_COLUMNS,
        Place(24, 12),
        description="Choose one provider above. Value is what counts, Published what the gateway said.",
    )


def _board(name: str, source: Datasource, since: str, description: str) -> builders.Dashboard:
    other = ON_CALL if name == DIRECTORY else DIRECTORY
    board = builders.Dashboard(TITLES[name]).uid(uid(name, source)).description(description)
    board.tags([TAG, source.folder]).time(since, "now").timezone("browser").refresh(REFRESH).editable()
    board.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    link = builders.DashboardLink(TITLES[other]).type(dashboard.DashboardLinkType.LINK).icon("dashboard")
    board.link(link.url(f"/d/{uid(other, source)}").keep_time(True).include_vars(True))
    board.with_variable(_variable(source, "provider", "Provider", ""))
    board.with_variable(_variable(source, "model", "Model", PROVIDER))
    return board


def _variable(source: Datasource, name: str, label: str, selector: str) -> builders.QueryVariable:
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = builders.QueryVariable(name).label(label).datasource(source.ref).query(source.variable(name, selector))
    variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.DISABLED)


class _Annotation(dashboard.AnnotationQuery):
    """What happened, switched on. The SDK's model has no room for what a datasource of its own asks."""

    def __init__(self, source: Datasource) -> None:
        super().__init__("Incidents and gateway", source.ref, icon_color=looks.DOWN)
        self._asked = source.annotation(ANNOTATIONS)

    def to_json(self) -> Json:
        """What stands in the dashboard."""
        return super().to_json() | self._asked


def _link_to(name: str, source: Datasource) -> str:
    return f"/d/{uid(name, source)}?var-provider=${{__value.text:percentencode}}&${{__url_time_range}}"


def _filled(
    board: builders.Dashboard, source: Datasource, sections: Iterable[tuple[str, Iterable[AnyPanel]]]
) -> dashboard.Dashboard:
    """The dashboard with its sections, all panels numbered in their order, and its annotations."""
    for title, panels in sections:
        if title:
            board.with_row(builders.Row(title))
        for panel in panels:
            board.with_panel(panel)
    built = board.build()
    for number, numbered in enumerate(built.panels or (), start=1):
        numbered.id_val = number
    built.annotations = dashboard.AnnotationContainer([_Annotation(source)])
    return built
