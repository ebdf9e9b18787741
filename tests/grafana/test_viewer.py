"""What a viewer reads of every panel, text and colour, beside what is true of the gateway at that moment.

A living service hears a gateway's story: never read, calm, an incident and a flap, one failed poll, a dead gateway.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

import pytest

from bridge.queries.catalog import LEVELS, METRICS, STATUS_WORDS
from grafana.generate import looks
from tests.grafana import reading
from tests.grafana.plugins import Json
from tests.grafana.story import FAILING, FLAPS, FLEET, HEALTHY, Truth
from tests.grafana.viewer import VERSIONS, Seen, look
from tests.grafana.watching import BOARDS, PANELS, Moment, PanelKey, watch
from tests.services import require

pytestmark = pytest.mark.service

Watched = Mapping[tuple[str, PanelKey], Mapping[str, Seen]]


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Moment]:
    require("node")
    return watch(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="module")
def watched(moments: Mapping[str, Moment]) -> Watched:
    """By version of Grafana and panel: what is seen at each moment."""
    keys = [(moment, key) for moment in moments for key in PANELS]
    found: dict[tuple[str, PanelKey], dict[str, Seen]] = {}
    for version in VERSIONS:
        asked = [(PANELS[key], moments[moment].answers[key]) for moment, key in keys]
        for (moment, key), seen in zip(keys, look(version, asked), strict=True):
            found.setdefault((version, key), {})[moment] = seen
    return found
