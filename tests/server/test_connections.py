"""Whose turn it is, and who goes when there is no room."""

from __future__ import annotations

from bridge.server.connections import TURN_SECONDS, Connection, Connections, Turn

MOST, MOST_BYTES = 3, 1000


class Clients:
    """Connections by name, and who was hung up on."""

    def __init__(self) -> None:
        self.all = Connections(MOST, MOST_BYTES)
        self.gone: list[str] = []

    def connect(self, name: str, now: float) -> Connection:
        connection = Connection(lambda: self.gone.append(name))
        self.all.open(connection, now)
        return connection


def test_of_too_many_the_one_that_has_waited_longest_goes() -> None:
    clients = Clients()
    first, second, *_ = (clients.connect(name, now) for now, name in enumerate("abc"))
    clients.all.receive(first, 10, 3.0)  # it has begun to speak, so its turn is younger than b's
    clients.connect("d", 4.0)
    assert clients.gone == ["b"]
    assert second.turn is Turn.CLOSED
    clients.connect("e", 5.0)
    assert clients.gone == ["b", "c"]
    assert clients.all.closed_for_room == 2


def test_more_of_the_same_request_makes_its_turn_no_younger() -> None:
    clients = Clients()
    slow = clients.connect("slow", 0.0)
    clients.all.receive(slow, 1, 1.0)
    clients.connect("b", 2.0)
    clients.connect("c", 3.0)
    clients.all.receive(slow, 1, 4.0)
    clients.connect("d", 5.0)
    assert clients.gone == ["slow"]


def test_who_waits_for_the_bridge_is_not_hung_up_on() -> None:
    clients = Clients()
    for name in "abc":
        connection = clients.connect(name, 0.0)
        clients.all.receive(connection, MOST_BYTES, 0.0)
        clients.all.answer(connection)
    assert clients.all.answering() == 3
    clients.connect("d", 1.0)
    clients.all.expire(2 * TURN_SECONDS)
    assert clients.gone == ["d"]


def test_of_too_many_bytes_the_oldest_turn_goes_that_holds_any() -> None:
    clients = Clients()
    clients.connect("silent", 0.0)
    taking = clients.connect("taking", 1.0)
    clients.all.receive(taking, 200, 1.0)
    clients.all.answer(taking)
    clients.all.send(taking, 600, 2.0)
    arriving = clients.connect("arriving", 3.0)
    clients.all.receive(arriving, 400, 3.0)
    assert clients.gone == []  # what was held of the request is not any more
    clients.all.receive(arriving, 1, 4.0)
    assert clients.gone == ["taking"]


def test_what_is_sent_is_not_held() -> None:
    clients = Clients()
    taking = clients.connect("taking", 0.0)
    clients.all.send(taking, 1000, 0.0)
    clients.all.sent(taking, 600)
    arriving = clients.connect("arriving", 1.0)
    clients.all.receive(arriving, 600, 1.0)
    assert clients.gone == []
    clients.all.rest(taking, 2.0)
    clients.all.receive(arriving, 400, 2.0)
    assert clients.gone == []
    assert taking.turn is Turn.IDLE


def test_a_single_answer_may_be_larger_than_all_together() -> None:
    clients = Clients()
    clients.all.send(clients.connect("a", 0.0), 5 * MOST_BYTES, 0.0)
    assert clients.gone == []
    clients.all.send(clients.connect("b", 1.0), 5 * MOST_BYTES, 1.0)
    assert clients.gone == ["a"]


def test_a_turn_ends_after_its_time_whatever_it_was() -> None:
    clients = Clients()
    clients.connect("silent", 0.0)
    arriving = clients.connect("arriving", 0.0)
    clients.all.receive(arriving, 1, 1.0)
    taking = clients.connect("taking", 0.0)
    clients.all.send(taking, 1, 2.0)
    for number, name in enumerate(("silent", "arriving", "taking")):
        clients.all.expire(TURN_SECONDS + number - 0.1)
        assert name not in clients.gone
        clients.all.expire(TURN_SECONDS + number)
        assert clients.gone[-1] == name


def test_nothing_happens_on_a_connection_that_is_gone() -> None:
    clients = Clients()
    gone = clients.connect("gone", 0.0)
    clients.all.close(gone)
    clients.all.close(gone)
    clients.all.receive(gone, 2 * MOST_BYTES, 1.0)
    clients.all.answer(gone)
    clients.all.send(gone, 2 * MOST_BYTES, 1.0)
    clients.all.rest(gone, 1.0)
    for name in "abc":
        clients.all.receive(clients.connect(name, 2.0), 300, 2.0)
    assert clients.gone == []
    assert gone.turn is Turn.CLOSED
