"""A viewer's eyes: what Grafana shows of a panel's answer, by its own code, in each of two versions."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.grafana.plugins import Json
from tests.services import missing, require

HERE = Path(__file__).parent
PINNED = ("package.json", "package-lock.json")
VERSIONS = ("11", "12")
TRANSPARENT = "#00000000"
INSTALL_SECONDS = 240.0
LOOK_SECONDS = 60.0


@dataclass(frozen=True)
class Text:
    """Something written, and the colour it is in or on; None for one that no value decides."""

    text: str
    colour: str | None


@dataclass(frozen=True)
class Seen:
    """A panel as it is seen: one of tiles, a table, lanes of a timeline, lines of a graph."""

    tiles: Mapping[str, Text]
    headers: Sequence[str]
    rows: Sequence[Mapping[str, Text]]
    lanes: Mapping[str, Sequence[tuple[float, Text]]]
    """Bars of a timeline, each with when it begins, in epoch seconds."""
    lines: Mapping[str, Sequence[tuple[float, float | None]]]
    legends: Mapping[str, Mapping[str, str]]
    applied: Sequence[bool]
    """Which of the panel's overrides met a field."""

    @property
    def texts(self) -> list[Text]:
        """All that is written in it."""
        bars = [text for lane in self.lanes.values() for _, text in lane]
        return [*self.tiles.values(), *(text for row in self.rows for text in row.values()), *bars]


def look(version: str, panels: Sequence[tuple[Json, Sequence[Json]]]) -> list[Seen]:
    """Each of these panels, with its answer as frames or as a datasource's wire format, as it is seen."""
    node, packages = require("node"), installed()
    asked = [{"panel": panel, "frames": frames} for panel, frames in panels]
    done = subprocess.run(
        [node, str(HERE / "viewer.cjs"), version],
        input=json.dumps(asked),
        env={"NODE_PATH": str(packages / "node_modules"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=LOOK_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [_seen(one) for one in json.loads(done.stdout)]


def _seen(one: Mapping[str, Any]) -> Seen:
    table = one.get("table", {"headers": [], "rows": []})
    tiles = {tile["title"]: _text(tile) for tile in one.get("tiles", ())}
    assert len(tiles) == len(one.get("tiles", ())), f"two tiles have one name: {one['tiles']}"
    return Seen(
        tiles=tiles,
        headers=table["headers"],
        rows=[dict(zip(table["headers"], map(_text, row), strict=True)) for row in table["rows"]],
        lanes={lane["name"]: [(bar["at"] / 1000, _text(bar)) for bar in lane["bars"]] for lane in one.get("lanes", ())},
        lines={line["name"]: [(at / 1000, value) for at, value in line["points"]] for line in one.get("lines", ())},
        legends={line["name"]: line["legend"] for line in one.get("lines", ())},
        applied=one["applied"],
    )


def _text(written: Mapping[str, Any]) -> Text:
    colour = (written["colour"] or TRANSPARENT).upper()
    return Text(written["text"], None if colour == TRANSPARENT else colour)


def installed() -> Path:
    """The folder in which the packages are, beside their lock; the first test that wants them installs them."""
    texts = [(HERE / name).read_bytes() for name in PINNED]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provider-health-bridge"
    folder = cache / f"viewer-{hashlib.sha256(b''.join(texts)).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    npm, making = require("npm"), folder.with_suffix(".part")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    for name in PINNED:
        shutil.copy(HERE / name, making)
    for command in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "bundle"]):
        done = subprocess.run(
            [npm, *command], cwd=making, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(making)
            missing(f"npm {command[0]} fails here: {' '.join(done.stderr.split())[-300:]}")
    making.rename(folder)
