from __future__ import annotations

import pytest

from bridge.gateway.choice import Chosen
from bridge.gateway.dialect import NameRule, SignalSource
from bridge.gateway.routes import Routers
from bridge.gateway.series import Series, Shape


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        ({"status": "ok"}, True),
        ({"status": "ok", "kind": "real"}, True),
        ({"status": "other"}, False),
        ({}, False),
        ({"status": "ok", "kind": "test"}, False),
    ],
)
def test_a_series_counts_when_its_labels_say_so(labels: dict[str, str], counts: bool) -> None:
    only, exclude = {"status": frozenset({"ok"})}, {"kind": frozenset({"test"})}
    source = SignalSource("requests", "calls", NameRule("provider"), only=only, exclude=exclude)
    labels = {"provider": "openai"} | labels
    series = Series(Shape("calls", tuple(labels)), tuple(labels.values()), b"calls")
    [router] = Routers([Chosen(source, "mine", 0)]).of(series.shape)
    assert router.counts(series) is counts
    assert (router.route(series) is not None) is counts


def test_a_label_that_a_series_has_not_is_no_value_of_another() -> None:
    source = SignalSource("requests", "calls", NameRule("provider"), model="model")
    bare, with_model = Shape("calls", ("provider",)), Shape("calls", ("model", "provider"))
    routers = Routers([Chosen(source, "mine", 0)])
    [of_bare], [of_model] = routers.of(bare), routers.of(with_model)
    without = of_bare.route(Series(bare, ("openai",), b"1"))
    having = of_model.route(Series(with_model, ("gpt-4.1", "openai"), b"2"))
    empty = of_model.route(Series(with_model, ("", "openai"), b"3"))
    assert (without and without.key, having and having.key, empty) == (("openai", ""), ("openai", "gpt-4.1"), None)
