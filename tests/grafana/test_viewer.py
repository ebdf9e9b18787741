"""What a viewer reads of every panel, text and colour, beside what is true of the gateway at that moment.

A living service hears a gateway's story: never read, calm, an incident and a flap, one failed poll, a dead gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from grafana.generate import looks
from grafana.generate.panels import MAY_NEVER_BE
from tests.grafana.checks import check_of
from tests.grafana.plugins import Json
from tests.grafana.reading import TIME
from tests.grafana.viewer import VERSIONS, Seen, look
from tests.grafana.watching import PANELS, Moment, PanelKey, watch
from tests.services import require

pytestmark = pytest.mark.service

Watched = Mapping[tuple[str, PanelKey], Mapping[str, Seen]]
EVERY_PANEL = pytest.mark.parametrize("key", PANELS, ids=lambda key: f"{key[0]}-{key[1]}")
EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)
NO_WORDS = ("", "null", "undefined", "NaN", "-∞", "Infinity", "[object Object]")
STATES = ("Status", "Circuit", "State", "From", "To")
"""Columns that hold a word for a state."""


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Moment]:
    require("node")
    return watch(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="module")
def watched(moments: Mapping[str, Moment]) -> Watched:
    """What is seen of each panel by each version of Grafana, by moment."""
    keys = [(moment, key) for moment in moments for key in PANELS]
    found: dict[tuple[str, PanelKey], dict[str, Seen]] = {}
    for version in VERSIONS:
        asked = [(PANELS[key], moments[moment][key].frames) for moment, key in keys]
        for (moment, key), seen in zip(keys, look(version, asked), strict=True):
            found.setdefault((version, key), {})[moment] = seen
    return found


@EVERY_VERSION
@EVERY_PANEL
def test_a_viewer_reads_what_is_true(
    moments: Mapping[str, Moment], watched: Watched, version: str, key: PanelKey
) -> None:
    check = check_of(PANELS[key])
    for name, seen in watched[version, key].items():
        print(f"{PANELS[key]['title']!r}: {name}")  # the last one is it, where this fails
        answer = moments[name][key]
        check(seen, answer.in_range if shows_a_range(PANELS[key]) else answer.truth)


def shows_a_range(panel: Json) -> bool:
    """Whether a panel shows the time range; the others show now."""
    return panel["type"] in ("timeseries", "state-timeline") or "in this range" in panel["title"]


@EVERY_VERSION
@EVERY_PANEL
def test_nothing_unknown_has_a_colour_and_no_state_is_a_code(watched: Watched, version: str, key: PanelKey) -> None:
    states = [word for word in looks.COLOURS if word not in ("fresh", "stale", "never read")]
    for name, seen in watched[version, key].items():
        print(f"{PANELS[key]['title']!r}: {name}")
        for text in seen.texts:
            assert not any(text.text == bad or text.text.startswith("-∞") for bad in NO_WORDS)
            if text.text in (looks.NO_DATA, "unknown", looks.NOTHING):
                assert text.colour in (None, looks.UNKNOWN)
        cells = [row[column].text for row in seen.rows for column in STATES if column in row and row[column].colour]
        assert set(cells) <= {*states, looks.NO_DATA, looks.NOTHING, "up"}
        for row in seen.rows:
            for column in ("Time", "Since", "Open since", "First opened"):
                if column in row and row[column].text not in (
                    looks.NO_DATA,
                    *([looks.NOTHING] * (column in MAY_NEVER_BE)),
                ):
                    assert TIME.fullmatch(row[column].text), "a time to the second"


@EVERY_VERSION
@EVERY_PANEL
def test_headers_are_words_and_every_override_meets_a_field(watched: Watched, version: str, key: PanelKey) -> None:
    panel = PANELS[key]
    dressed = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
    for seen in watched[version, key].values():
        if panel["type"] == "table" and seen.headers:
            assert list(seen.headers) == dressed
            assert all(re.fullmatch(r"[A-Zp][a-zA-Z0-9]+( [a-zA-Z0-9]+)*", header) for header in seen.headers)
        assert all(name.strip() for name in (*seen.lanes, *seen.lines))
    met = [any(seen.applied[place] for seen in watched[version, key].values()) for place in range(len(dressed))]
    assert dict(zip(dressed, met, strict=True)) == dict.fromkeys(dressed, True)
