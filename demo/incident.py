"""What `make run` shows: a fleet of thirty providers under simulated traffic, and what goes wrong in it.

It plays in a loop of ten minutes:

====== ==========================================================================================================
second what happens
====== ==========================================================================================================
0      all is well
60     one of openrouter's four models fails, until 210
240    anthropic answers eight times as slowly, until 570: a regression, not a blip
270    groq fails altogether, until 390: its breaker opens, and tries again each minute
450    cohere fails for five seconds, which opens its breaker for a minute
480    mistral appears (once: a gateway's counters do not go away again)
====== ==========================================================================================================
"""

from __future__ import annotations

from zlib import crc32

from demo.script import LOOP_SECONDS, PROVIDERS
from demo.traffic import Deployment, Script, Spell

FAILING_MODEL = ("openrouter", "anthropic/claude-3-5-sonnet")
ONE_MODEL, ALTOGETHER, SLOW = (60.0, 210.0), (270.0, 390.0), (240.0, 570.0)
"""From when to when one of openrouter's models fails, groq fails, and anthropic is slow."""

SCRIPT = Script(
    spells=[
        Spell(*ONE_MODEL, *FAILING_MODEL, failing=1.0),
        Spell(*SLOW, "anthropic", slower=8.0),
        Spell(*ALTOGETHER, "groq", failing=1.0),
        Spell(450.0, 455.0, "cohere", failing=1.0),
        Spell(0.0, 480.0, "mistral", silent=True),
    ],
    loop_seconds=LOOP_SECONDS,
)


def fleet() -> list[Deployment]:
    """The providers' models; each has its usual traffic, latency and a few failures in a thousand."""
    return [
        Deployment(
            provider,
            model,
            per_second=(1.0 + _spread(provider) * 3.0) / len(models),
            latency_seconds=0.25 + 0.4 * _spread(model),
            failing=0.004,
        )
        for provider, models in PROVIDERS.items()
        for model in models
    ]


def _spread(name: str) -> float:
    """A number from 0 to 1 that belongs to the name."""
    return crc32(name.encode()) % 100 / 100
