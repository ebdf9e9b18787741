"""Names for what a gateway tells apart by a label that is never shown."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from bridge.application import create_app
from bridge.gateway import identities
from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.identities import MAX_NAMED, Claim, Names
from bridge.gateway.translate import Translator
from bridge.model import VANISHED_AFTER_POLLS, Key, Named, Signals
from bridge.settings import Settings
from tests.gateway.hostile import answer, gateway
from tests.one_poller import polled, poller_in, reads

ONE, TWO, THREE = ("gw", "id-1"), ("gw", "id-2"), ("gw", "id-3")
SWIFT = Key("acme", "swift")
Seen = Mapping[tuple[str, str], Key]


def after(*expositions: Seen, literal: Collection[Key] = ()) -> Names:
    """The names after expositions in which identities went by these names."""
    named: tuple[Named, ...] = ()
    for seen in expositions:
        named = identities.after(named, [Claim(identity, 0, name) for identity, name in seen.items()], literal)
    return Names(named)


class TestNumbers:
    def test_the_first_of_a_name_has_it_alone_and_the_others_are_counted(self) -> None:
        names = after({ONE: SWIFT, TWO: SWIFT, THREE: SWIFT})
        shown = [names.shown(identity) for identity in (ONE, TWO, THREE)]
        assert shown == [SWIFT, Key("acme", "swift #2"), Key("acme", "swift #3")]

    def test_without_a_model_the_provider_is_counted(self) -> None:
        assert after({ONE: Key("a100"), TWO: Key("a100")}).shown(TWO) == Key("a100 #2")

    def test_one_name_of_two_providers_or_two_gateways_is_no_clash(self) -> None:
        names = after({ONE: SWIFT, TWO: Key("globex", "swift"), ("other", "id-1"): SWIFT})
        assert names.shown(TWO) == Key("globex", "swift")
        assert names.shown(("other", "id-1")) == SWIFT

    def test_a_number_stays_when_the_order_changes_or_another_leaves(self) -> None:
        both = {ONE: SWIFT, TWO: SWIFT}
        for then in ({TWO: SWIFT, ONE: SWIFT}, {TWO: SWIFT}):
            assert after(both, then).shown(TWO) == Key("acme", "swift #2")

    def test_a_number_that_came_free_is_given_again(self) -> None:
        names = after({ONE: SWIFT, TWO: SWIFT}, *[{TWO: SWIFT}] * VANISHED_AFTER_POLLS, {TWO: SWIFT, THREE: SWIFT})
        assert (names.shown(THREE), names.shown(TWO)) == (SWIFT, Key("acme", "swift #2"))

    def test_one_that_misses_a_poll_or_two_finds_its_name_again(self) -> None:
        both, other = {ONE: SWIFT, TWO: SWIFT}, {TWO: SWIFT}
        assert after(both, other, {THREE: SWIFT}, both).shown(ONE) == SWIFT
        assert after(both, other, other, both, other, other, both).shown(TWO) == Key("acme", "swift #2")

    def test_one_that_is_gone_for_as_long_as_a_provider_stays_on_the_roster_has_no_name(self) -> None:
        assert after({ONE: SWIFT}, *[{}] * (VANISHED_AFTER_POLLS - 1)).shown(ONE) == SWIFT
        assert after({ONE: SWIFT}, *[{}] * VANISHED_AFTER_POLLS).shown(ONE) is None

    def test_a_number_never_makes_a_name_that_the_gateway_uses_itself(self) -> None:
        both = {ONE: SWIFT, TWO: SWIFT}
        assert after(both, literal=[Key("acme", "swift #2")]).shown(TWO) == Key("acme", "swift #3")
        three = after({ONE: SWIFT, TWO: SWIFT}, {ONE: SWIFT, TWO: SWIFT, THREE: Key("acme", "swift #2")})
        assert [three.shown(it) for it in (TWO, THREE)] == [Key("acme", "swift #3"), Key("acme", "swift #2")]

    def test_a_hundred_thousand_of_one_name_take_a_moment_and_names_are_bounded(self) -> None:
        claims = [Claim(("gw", str(number)), 0, SWIFT) for number in range(100_000)]
        started = time.thread_time()
        named = identities.after((), claims)
        assert time.thread_time() - started < 3
        assert len(named) == MAX_NAMED
        anew = identities.after(named, [Claim(("gw", f"new-{number}"), 0, SWIFT) for number in range(5)])
        assert len(anew) == MAX_NAMED

    def test_a_name_without_a_provider_is_none(self) -> None:
        assert after({ONE: Key("")}).shown(ONE) is None


class TestSeveralNames:
    @staticmethod
    def names(*claims: tuple[tuple[str, str], int, Key]) -> Names:
        return Names(identities.after((), [Claim(*claim) for claim in claims]))

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_entry_that_stands_first_gives_the_name_whichever_is_seen_first(self, order: tuple[int, int]) -> None:
        given = [SWIFT, Key("acme", "quick-group")]
        names = self.names(*((ONE, rank, given[rank]) for rank in order))
        assert (names.shown(ONE), names.own_name(ONE)) == (SWIFT, SWIFT)

    def test_of_two_names_in_one_entry_the_first_stays(self) -> None:
        claims = [Claim(ONE, 0, SWIFT), Claim(ONE, 0, Key("acme", "quick-group"))]
        assert Names(identities.after(identities.after((), claims), claims)).shown(ONE) == SWIFT

    def test_a_better_name_gives_the_number_of_the_old_one_back(self) -> None:
        names = self.names((ONE, 1, SWIFT), (ONE, 0, Key("acme", "swift-2")), (TWO, 1, SWIFT))
        assert (names.shown(ONE), names.shown(TWO)) == (Key("acme", "swift-2"), SWIFT)

    def test_the_own_name_is_the_one_without_a_number(self) -> None:
        assert after({ONE: SWIFT, TWO: SWIFT}).own_name(TWO) == SWIFT


NAMED = 'api_provider="acme",litellm_model_name="swift"'


def deployments(**failed: int) -> bytes:
    """LiteLLM with deployments of one name, each with 1000 successes and so many failures."""
    return "".join(
        f'litellm_deployment_{family}_total{{{NAMED},model_id="{id_}"}} {count}\n'
        for id_, failures in failed.items()
        for family, count in (
            ("total_requests", 1000 + failures),
            ("success_responses", 1000),
            ("failure_responses", failures),
        )
    ).encode()


class TestGateway:
    """Through a whole dialect: LiteLLM's deployments."""

    @staticmethod
    def translated(*bodies: bytes) -> Signals:
        reader, translator, signals = ExpositionReader(), Translator(select("litellm")), Signals()
        for body in bodies:
            signals = translator.translate(reader.read(body), signals.learnt)
        return signals

    def test_every_series_of_an_identity_goes_by_its_name(self) -> None:
        counters = self.translated(deployments(a=1, b=2)).counters
        assert {(counter.model, counter.signal): value for counter, value in counters.items()} == {
            ("swift", "requests"): 1001,
            ("swift", "successes"): 1000,
            ("swift", "failures"): 1,
            ("swift #2", "requests"): 1002,
            ("swift #2", "successes"): 1000,
            ("swift #2", "failures"): 2,
        }

    def test_a_name_stays_while_the_order_of_lines_changes(self) -> None:
        counters = self.translated(deployments(a=1, b=2), deployments(b=2, a=1)).counters
        assert {counter.model: value for counter, value in counters.items() if counter.signal == "failures"} == {
            "swift": 1,
            "swift #2": 2,
        }

    def test_a_poll_that_is_not_accepted_changes_no_name(self, tmp_path: Path) -> None:
        # The second deployment comes first where the bridge has no names to go by.
        now, models = [1_795_000_000.0], []
        bodies = (deployments(a=1, b=2), b"node_cpu 1\n", deployments(b=2, a=1))
        with gateway(*(answer(200, body) for body in bodies)) as upstream:
            settings = Settings(f"http://127.0.0.1:{upstream.port}", metrics_path="/metrics", data_dir=tmp_path)
            app = create_app(settings, clock=reads(lambda: now[0]))
            for outcome in ("ok", "unrecognised", "ok"):
                now[0] += 15
                assert polled(poller_in(app)).outcome == outcome
                models.append({one.digest: one.number for one in poller_in(app)._memory.learnt.names})
            app.extensions["bridge"].store.close()
        assert models[0] == models[1] == models[2]
        assert sorted(models[0].values()) == [1, 2]

    def test_a_restarted_bridge_calls_them_what_it_called_them_before(self, tmp_path: Path) -> None:
        # The first of two deployments is withdrawn; then the bridge restarts, or another worker takes the lead.
        now, names = [1_795_000_000.0], []
        bodies = [deployments(a=1, b=2), deployments(b=2), deployments(b=2)]
        with gateway(*(answer(200, body) for body in bodies)) as upstream:
            settings = Settings(f"http://127.0.0.1:{upstream.port}", metrics_path="/metrics", data_dir=tmp_path)
            for poll in range(3):
                if poll in (0, 2):
                    app = create_app(settings, clock=reads(lambda: now[0]))
                    bridge = app.extensions["bridge"]
                    poller_in(app).resume()
                now[0] += 15
                assert polled(poller_in(app)).outcome == "ok"
                bridge.store.close()
                circuits = bridge.view().snapshot.circuits
                names.append([circuit.model for circuit in circuits if circuit.state is not None])
                bridge.store.close()
        assert names[0] == ["swift", "swift #2"]
        assert names[2] == names[1]
