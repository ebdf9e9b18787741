"""Each request's budget: made when its route asks for it, and at an end when its answer was sent."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask, Response, g

from bridge.bridge import current_bridge
from bridge.queries import budget
from bridge.queries.budget import Budget


def register(app: Flask) -> None:
    """See to it that every budget comes to its end, whatever becomes of its request."""

    @app.after_request
    def hand_over(response: Response) -> Response:
        spent: Budget | None = g.pop("budget", None)
        if spent is not None:
            spent.end()
            response.call_on_close(spent.close)
        return response

    @app.teardown_request
    def close(_: BaseException | None) -> None:
        spent: Budget | None = g.pop("budget", None)
        if spent is not None:
            spent.close()


def current_budget() -> Budget:
    """The present request's."""
    if "budget" not in g:
        admission, limits = current_bridge().admission, budget.LIMITS
        limits = replace(limits, answer_bytes=min(limits.answer_bytes, admission.max_bytes))
        g.budget = Budget(limits, admission)
    spent: Budget = g.budget
    return spent
