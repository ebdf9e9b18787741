"""Fixtures of the service tests. Every process they start is ended by its process group, whatever the test does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.harness import Gateway, Service, fleet_exposition, running, wait_until


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway on which all is well."""
    with running(fleet_exposition()) as gateway:
        yield gateway


@pytest.fixture
def service(tmp_path: Path, gateway: Gateway) -> Iterator[Callable[..., Service]]:
    """Starts the service against the gateway: ``service(WEB_CONCURRENCY="4")``."""
    started: list[Service] = []

    def start(**environment: str) -> Service:
        started.append(Service(tmp_path, {"GATEWAYZ_API_URL": gateway.url, **environment}))
        return started[-1].start()

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def polled(service: Callable[..., Service], gateway: Gateway) -> Service:
    """A service that has polled."""
    one = service()
    wait_until(lambda: gateway.asked_at, "the first poll")
    return one
