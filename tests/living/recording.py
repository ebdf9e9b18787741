"""Recordings of the living gateways, kept in the repository: what each printed, and what was true when it did.

``python -m tests.living.recording`` makes them anew, in simulated time, for a change of what a gateway prints.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.traffic import Router
from tests.living.life import ENDS, KINDS, PHASES, SCRIPT, Shape, shapes, simulated

FOLDER = Path(__file__).parents[1] / "fixtures" / "expositions"
BEGAN = 1_795_003_800.0
"""Epoch second at which the script begins: no full hour comes while it lasts."""
EVERY_SECONDS = 2.0


def record(dialect: str) -> list[dict[str, Any]]:
    """A gateway's life as scrapes: body, second of the script, phase, and the truth of that moment."""
    kind = KINDS[dialect]
    router, shape = simulated(kind), kind.shape()
    router.advance(0.0)
    router.play(SCRIPT)
    return list(_scrapes(router, shape))


def _scrapes(router: Router, shape: Shape) -> Iterator[dict[str, Any]]:
    second = 0.0
    while second <= ENDS:
        router.advance(second)
        failed = sum(call.failed for call in router.calls)
        yield {
            "seconds": second,
            "phase": next(phase for phase, end in PHASES.items() if second <= end),
            "truth": {
                "states": {"/".join(key): breaker.state for key, breaker in router.breakers.items()},
                "scores": {name: shapes.score(router, name) for name in router.of_providers()},
                "calls": len(router.calls),
                "failed": failed,
                "counted_from": router.started,
            },
            "body": shape(router, BEGAN + second),
        }
        second += EVERY_SECONDS


def read(dialect: str) -> list[dict[str, Any]]:
    """The recording that is kept of this dialect's gateway."""
    scrapes: list[dict[str, Any]] = json.loads(gzip.decompress((FOLDER / f"{dialect}.json.gz").read_bytes()))
    return scrapes


def main() -> None:
    """Make all of them anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dialect in KINDS:
        content = json.dumps(record(dialect), indent=0).encode()
        (FOLDER / f"{dialect}.json.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main()
