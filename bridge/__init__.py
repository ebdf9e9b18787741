"""Provider Health Bridge: between an AI gateway and the people who watch it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog
from flask import Flask

from bridge import logs
from bridge.bridge import Bridge
from bridge.gateway import dialect
from bridge.gateway.client import GatewayClient
from bridge.gateway.source import GatewaySource
from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.poller import Poller
from bridge.queries.cache import AnswerCache
from bridge.settings import ConfigurationError, Settings, load
from bridge.web import auth, errors, exposition, oncall, operations, requestlog, simplejson
from bridge.web.names import NameConverter

MAX_BODY_BYTES = 1024 * 1024


def configured(environ: Mapping[str, str]) -> Settings:
    """The settings of this deployment, checked as far as they can be before anything runs.

    Raises ConfigurationError with every mistake there is, those in a dialect file of one's own included.
    """
    settings = load(environ)
    try:
        dialect.select(settings.dialect)
    except dialect.DialectError as error:
        raise ConfigurationError([f"GATEWAY_DIALECT={settings.dialect!r}: {error}"]) from None
    return settings


def create_app(settings: Settings, *, clock: Callable[[], float] = time.time) -> Flask:
    """The WSGI application, wired. Nothing runs until its bridge is started (``app.extensions["bridge"].start()``).

    Raises DialectError for a dialect that cannot be used, OSError when ``data_dir`` cannot be written.
    """
    logs.configure(settings.log_level, context=requestlog.current)
    store = Store(settings.data_dir, retention_seconds=settings.history_retention_seconds)
    if store.damage:
        structlog.get_logger("bridge").error("history_damaged", message=store.damage)
    client = GatewayClient(
        settings.gateway_url + settings.metrics_path,
        token=settings.gateway_token,
        timeout_seconds=settings.poll_timeout_seconds,
        max_bytes=settings.max_exposition_bytes,
    )
    source = GatewaySource(client, dialect.select(settings.dialect))
    metrics = exposition.OwnMetrics()
    poller = Poller(
        source,
        store,
        settings.policy,
        interval_seconds=settings.poll_interval_seconds,
        clock=clock,
        observe=metrics.poll,
    )

    app = Flask("bridge", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = NameConverter
    app.extensions["bridge"] = Bridge(
        settings, store, poller, clock, AnswerCache(observe=metrics.lookup), metrics, remote=_remote_history(settings)
    )
    requestlog.register(app, settings.log_level)
    exposition.register(app, metrics)
    auth.register(app, settings)
    errors.register(app)
    for face in (oncall, simplejson, operations):
        app.register_blueprint(face.blueprint)
        app.register_blueprint(face.blueprint, url_prefix="/api", name=f"api_{face.blueprint.name}")
    return app


def _remote_history(settings: Settings) -> RemoteHistory | None:
    if settings.history_url is None:
        return None
    return RemoteHistory(settings.history_url, tenant=settings.history_tenant, token=settings.history_token)
