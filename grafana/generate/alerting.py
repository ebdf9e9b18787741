"""Alert rules of Grafana's own over the Infinity datasource, for where no Prometheus evaluates ``prometheus/rules``.

A rule asks for values as of now, a row a provider or model: format *Table* with the labels as text and one number. It
has no variable, as Grafana fills in none in alert rules, and no range and no time: in a table with a time every column
is taken for a number, which alerting refuses. A value that is not known (no traffic, stale data) is no data; that the
gateway cannot be polled is a rule of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from grafana.generate.datasources import Infinity, Json

EXPRESSIONS = "__expr__"
INFINITY = Infinity()


def text() -> str:
    """The provisioning file. Its texts have no dollar sign: Grafana would take it for a variable of the environment."""
    group = {
        "orgId": 1,
        "name": "provider-health",
        "folder": "Provider health",
        "interval": "1m",
        "rules": [_provider_fails(), _model_is_down(), _gateway_cannot_be_polled()],
    }
    return json.dumps({"apiVersion": 1, "groups": [group]}, indent=2) + "\n"


def _provider_fails() -> Json:
    """With a floor of traffic, as ProviderHighErrorRate has it: one request that fails at night is no outage."""
    return _rule(
        "provider-error-rate",
        "Provider: over 20 % of requests fail",
        [
            _asked("A", "provider_error_rate", ("provider",)),
            _asked("B", "provider_request_rate", ("provider",)),
            _expression("C", type="math", expression="$A > 0.2 && $B >= 0.03"),
        ],
        lasting="5m",
        severity="critical",
        annotations={
            "summary": "{{ .Labels.provider }}: over 20 % of requests fail",
            "description": "Over 20 % of the requests to {{ .Labels.provider }} have failed for 5 minutes.",
        },
    )


def _model_is_down() -> Json:
    """A status goes by the circuits that the gateway reports, and by error rates of enough requests."""
    return _rule(
        "model-down",
        "Model: down",
        [_asked("A", "model_status", ("provider", "model")), _threshold("C", "gt", 2.5)],
        lasting="1m",
        severity="warning",
        annotations={
            "summary": "{{ .Labels.provider }} / {{ .Labels.model }}: down",
            "description": "The circuit of {{ .Labels.model }} at {{ .Labels.provider }} is OPEN,"
            " or half of its requests fail.",
        },
    )


def _gateway_cannot_be_polled() -> Json:
    return _rule(
        "gateway-unreachable",
        "The AI gateway cannot be polled",
        [_asked("A", "gateway_up", ("target",)), _threshold("C", "lt", 0.5)],
        lasting="2m",
        severity="critical",
        annotations={
            "summary": "The AI gateway cannot be polled",
            "description": "Polls have failed for 2 minutes, or nobody polls: nothing is known of providers meanwhile.",
        },
        no_data="Alerting",
    )


def _rule(
    uid: str,
    title: str,
    data: Sequence[Json],
    *,
    lasting: str,
    severity: str,
    annotations: Mapping[str, str],
    no_data: str = "OK",
) -> Json:
    return {
        "uid": f"provider-health-bridge-{uid}",
        "title": title,
        "condition": data[-1]["refId"],
        "data": list(data),
        "noDataState": no_data,
        "execErrState": "Error",
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": dict(annotations),
        "isPaused": False,
    }


def _asked(ref_id: str, target: str, labels: Sequence[str]) -> Json:
    model = INFINITY.current(target, labels).model | {"refId": ref_id}
    return _data(ref_id, INFINITY.uid, model)


def _threshold(ref_id: str, kind: str, bound: float) -> Json:
    evaluator = {"type": kind, "params": [bound]}
    return _expression(ref_id, type="threshold", expression="A", conditions=[{"evaluator": evaluator}])


def _expression(ref_id: str, **model: object) -> Json:
    datasource = {"type": EXPRESSIONS, "uid": EXPRESSIONS}
    return _data(ref_id, EXPRESSIONS, {"refId": ref_id, "datasource": datasource, **model})


def _data(ref_id: str, uid: str, model: Json) -> Json:
    return {
        "refId": ref_id,
        "relativeTimeRange": {"from": 300, "to": 0},
        "datasourceUid": uid,
        "model": model,
    }
