"""``python -m grafana.generate`` writes the dashboards and Grafana's alert rules anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.generate import alerting
from grafana.generate.dashboards import directory, on_call
from grafana.generate.datasources import DATASOURCES

FOLDER = Path(__file__).parents[1] / "dashboards"
ALERT_RULES = Path(__file__).parents[1] / "provisioning" / "alerting" / "provider-health-bridge.json"


def files() -> Mapping[Path, str]:
    """Every file's path and text. Equal input gives equal bytes."""
    made: dict[Path, str] = {}
    for source in DATASOURCES:
        for name, board in (("directory", directory(source)), ("on-call", on_call(source))):
            text = json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
            made[FOLDER / source.folder / f"{name}.json"] = text + "\n"
    made[ALERT_RULES] = alerting.text()
    return made


def main() -> None:
    """Write all files, and remove what is no longer made."""
    made = files()
    for old in FOLDER.glob("*/*.json"):
        if old not in made:
            old.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
