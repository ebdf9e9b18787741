"""The application: the wiring of one worker's service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask

from bridge import clock, logs
from bridge.bridge import Bridge
from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.model import Reading
from bridge.queries.admission import LEAST_BYTES, SERVICE_BYTES, Admission
from bridge.queries.cache import AnswerCache
from bridge.settings import Settings
from bridge.web import (
    auth,
    budgets,
    compression,
    counts,
    errors,
    events,
    oncall,
    operations,
    ready,
    reference,
    requestlog,
    simplejson,
    simpod,
)
from bridge.web.names import NameConverter

MAX_BODY_BYTES = 1024 * 1024


class _Flask(Flask):
    """Flask without a look at each function of each request whether it is a coroutine: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Any function as it is."""
        return func


def create_app(settings: Settings, *, clock: Callable[[], Reading] = clock.read) -> Flask:
    """The WSGI application, wired. Nothing runs until its bridge is started (``app.extensions["bridge"].start()``).

    Raises OSError or sqlite3.OperationalError when a history can be kept neither in ``data_dir`` nor in memory.
    """
    logs.configure(settings.log_level, context=requestlog.current)
    store = Store(settings.data_dir, retention_seconds=settings.history_retention_seconds)
    if store.damage:
        structlog.get_logger("bridge").error("history_damaged", message=store.damage)
    metrics = counts.OwnMetrics()
    admission = Admission(max(LEAST_BYTES, SERVICE_BYTES // settings.web_concurrency))
    app = _Flask("bridge", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["name"] = NameConverter
    app.extensions["bridge"] = Bridge(
        settings,
        store,
        clock,
        AnswerCache(admission=admission, observe=metrics.lookup),
        metrics,
        remote=_remote_history(settings, clock),
        admission=admission,
    )
    credentials = auth.Credentials(settings)
    budgets.register(app)
    compression.register(app)
    errors.register(app)
    ready.register(app, credentials)
    auth.register(app, settings, credentials)
    requestlog.register(app, metrics, settings.log_level)
    for face in (oncall, simplejson, events, simpod, operations, reference):
        app.register_blueprint(face.blueprint)
        app.register_blueprint(face.blueprint, url_prefix="/api", name=f"api_{face.blueprint.name}")
    return app


def _remote_history(settings: Settings, clock: Callable[[], Reading]) -> RemoteHistory | None:
    if settings.history_url is None:
        return None
    return RemoteHistory(
        settings.history_url,
        tenant=settings.history_tenant,
        token=settings.history_token,
        clock=lambda: clock().wall,
    )
