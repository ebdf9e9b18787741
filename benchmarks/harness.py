"""Requests that are sent, and the numbers that come of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import IO, Any, cast

from benchmarks.client import Job, Outcome
from benchmarks.servers import PROJECT, BenchmarkError, Server

MOST_REQUESTS = 200_000
LOAD_SECONDS = 60.0
"""No load goes on for longer, whatever it was to send."""
CLIENT_BOUND = 0.9
"""Share of a core from which on a client may be what limits a result."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    work: str
    against: str
    measured: str
    bar: str
    passed: bool | None
    """None when it was skipped."""


def raw_request(method: str, target: str, body: object = None, *, gzip: bool = False) -> str:
    """A request as it goes over the wire."""
    content = "" if body is None else json.dumps(body)
    headers = {"Host": "127.0.0.1", "Accept": "application/json"}
    if gzip:
        headers["Accept-Encoding"] = "gzip"
    if content:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", content]
    return "\r\n".join(lines)


@dataclass(slots=True)
class Load:
    """What a load came to."""

    outcomes: list[Outcome]
    sent: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for outcome in self.outcomes:
            self.sent += outcome.sent
            self.took += outcome.took

    @property
    def rate(self) -> float:
        """Requests a second."""
        began, ended = min(it.began for it in self.outcomes), max(it.ended for it in self.outcomes)
        return len(self.took) / (ended - began)

    @property
    def client_share(self) -> float:
        """How much of a core the busiest client took."""
        return max(it.cpu_seconds / (it.ended - it.began) for it in self.outcomes)


def load(
    port: int,
    requests: Sequence[str],
    *,
    count: int = MOST_REQUESTS,
    connections: int = 1,
    processes: int = 1,
    seconds: float = LOAD_SECONDS,
    rate: float = 0.0,
) -> Load:
    """Let each client process send ``count`` requests, or for ``seconds``: what is reached first.

    Raises BenchmarkError unless all answers are 200.
    """
    begin = time.monotonic() + 0.15 + 0.1 * processes
    job = Job(port, list(requests), count, connections, begin, min(seconds, LOAD_SECONDS), rate)
    clients = [_client(job) for _ in range(processes)]
    outcomes = []
    try:
        for client in clients:
            output, error = client.communicate(timeout=LOAD_SECONDS * 2)
            if client.returncode:
                raise BenchmarkError(f"a client failed: {error.strip().splitlines()[-1]}")
            outcomes.append(Outcome(**json.loads(output)))
    finally:
        for client in clients:
            client.kill()
            client.wait()
    wrong = [outcome for outcome in outcomes if outcome.errors]
    if wrong:
        raise BenchmarkError(f"{sum(it.errors for it in wrong)} answers were not 200, the first {wrong[0].first_error}")
    return Load(outcomes)


class Watch:
    """Loads on some servers, and what they cost the servers and the clients."""

    def __init__(self) -> None:
        self._cpu: dict[int, float] = {}
        self._answers: dict[int, int] = {}
        self._busiest_client = 0.0

    def load(self, server: Server, requests: Sequence[str], **how: Any) -> Load:
        """A load as ``load`` makes it."""
        before = server.cpu_seconds()
        result = load(server.port, requests, **how)
        self._cpu[server.port] = self._cpu.get(server.port, 0.0) + server.cpu_seconds() - before
        self._answers[server.port] = self._answers.get(server.port, 0) + len(result.took)
        self._busiest_client = max(self._busiest_client, result.client_share)
        return result

    def costs(self, ours: Server, theirs: Server) -> str:
        """What an answer cost each in CPU time, in words; and whether a client may have been the limit."""
        each = (f"{self._cpu[server.port] / self._answers[server.port] * 1000:.2f}" for server in (ours, theirs))
        bound = f"; client-bound: {self._busiest_client:.0%} of a core" if self._busiest_client > CLIENT_BOUND else ""
        return f"CPU {' against '.join(each)} ms{bound}"


def _client(job: Job) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.client"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Only the first communicate() may bring input, and waiting there would keep the next client from starting.
    stdin = cast(IO[str], process.stdin)
    stdin.write(json.dumps(asdict(job)))
    stdin.close()
    process.stdin = None
    return process


def alternately(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float, float]:
    """Measure two things in turn, in pairs: the median of the pairs' ratios (ours / theirs), and each one's median."""
    pairs = [(ours(), theirs()) if number % 2 == 0 else (theirs(), ours())[::-1] for number in range(rounds)]
    return median(a / b for a, b in pairs), median(a for a, _ in pairs), median(b for _, b in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(-(-len(ordered) * share // 1)) - 1))]
