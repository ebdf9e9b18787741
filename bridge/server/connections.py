"""The connections of one worker: whose turn it is on each, since when, and how much is held for it in memory.

While it is the client's turn (to say something, to finish what it began, to take its answer) a connection costs no
thread, but a file descriptor and memory. Both are capped here: what is over is closed, the oldest turn first, whatever
address it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

TURN_SECONDS = 30.0
"""What a client has not finished by then, be it a request or taking an answer, is given up; silence is as well."""


class Turn(Enum):
    """What a connection waits for."""

    IDLE = "a request"
    ARRIVING = "the rest of a request"
    ANSWERING = "the bridge"
    TAKING = "the client, to take its answer"
    CLOSED = "nothing"


class Connection:
    """One connection. ``hang_up`` closes it at once."""

    __slots__ = ("hang_up", "held", "since", "turn")

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self.hang_up = hang_up
        self.turn = Turn.IDLE
        self.since = 0.0
        self.held = 0
        """Bytes of its request or its answer."""


class Connections:
    """All connections of a worker. Not thread-safe: for the event loop's thread. ``now`` is monotonic."""

    def __init__(self, most: int, most_bytes: int) -> None:
        """``most`` connections, and ``most_bytes`` held for all of them; a single one may hold more."""
        self._most = most
        self._most_bytes = most_bytes
        self._count = 0
        self._held = 0
        self._waiting: dict[Connection, None] = {}
        """Those on which it is the client's turn, the oldest turn first."""
        self.closed_for_room = 0
        """How many were closed so that others have room."""

    def open(self, connection: Connection, now: float) -> None:
        """A client has connected."""
        self._count += 1
        self._wait(connection, Turn.IDLE, now)
        self._make_room()

    def receive(self, connection: Connection, size: int, now: float) -> None:
        """So many bytes more have come of a request."""
        if connection.turn is Turn.CLOSED:
            return
        if connection.turn is Turn.IDLE:
            self._wait(connection, Turn.ARRIVING, now)
        self._hold(connection, size)
        self._make_room()

    def answer(self, connection: Connection) -> None:
        """The request has come in full: from now on the client waits for the bridge."""
        if connection.turn is not Turn.CLOSED:
            connection.turn = Turn.ANSWERING
            self._waiting.pop(connection, None)

    def send(self, connection: Connection, size: int, now: float) -> None:
        """The answer is there, so many bytes of it; what was held of the request is not needed any more."""
        if connection.turn is not Turn.CLOSED:
            self._wait(connection, Turn.TAKING, now)
            self._hold(connection, size - connection.held)
            self._make_room()

    def sent(self, connection: Connection, size: int) -> None:
        """So many bytes of it the client, or its system, has taken."""
        if connection.turn is Turn.TAKING:
            self._hold(connection, -min(size, connection.held))

    def rest(self, connection: Connection, now: float) -> None:
        """The answer is sent: the next request may come."""
        if connection.turn is not Turn.CLOSED:
            self._hold(connection, -connection.held)
            self._wait(connection, Turn.IDLE, now)

    def close(self, connection: Connection) -> None:
        """The connection is gone."""
        if connection.turn is not Turn.CLOSED:
            connection.turn = Turn.CLOSED
            self._waiting.pop(connection, None)
            self._hold(connection, -connection.held)
            self._count -= 1

    def expire(self, now: float) -> None:
        """Hang up where a client's turn has lasted for ``TURN_SECONDS``."""
        for connection in list(self._waiting):
            if now - connection.since < TURN_SECONDS:
                break
            self._hang_up(connection)

    def hang_up_oldest(self) -> None:
        """Make room for another connection, where the system has none."""
        self._drop(next(iter(self._waiting), None))

    def answering(self) -> int:
        """On how many the client waits for the bridge."""
        return self._count - len(self._waiting)

    def idle(self) -> list[Connection]:
        """Those on which nothing is under way."""
        return [connection for connection in self._waiting if connection.turn is Turn.IDLE]

    def _wait(self, connection: Connection, turn: Turn, now: float) -> None:
        self._waiting.pop(connection, None)
        self._waiting[connection] = None
        connection.turn, connection.since = turn, now

    def _hold(self, connection: Connection, size: int) -> None:
        connection.held += size
        self._held += size

    def _make_room(self) -> None:
        while self._count > self._most and self._drop(next(iter(self._waiting), None)):
            pass
        while self._held > self._most_bytes and self._drop(self._oldest_of_several(self._holding())):
            pass

    def _holding(self) -> Iterator[Connection]:
        return (connection for connection in self._waiting if connection.held)

    @staticmethod
    def _oldest_of_several(connections: Iterator[Connection]) -> Connection | None:
        """Not the only one: an answer that is larger than all may hold must still be sent."""
        oldest = next(connections, None)
        return oldest if next(connections, None) is not None else None

    def _drop(self, connection: Connection | None) -> bool:
        if connection is None:
            return False
        self.closed_for_room += 1
        self._hang_up(connection)
        return True

    def _hang_up(self, connection: Connection) -> None:
        self.close(connection)
        connection.hang_up()
