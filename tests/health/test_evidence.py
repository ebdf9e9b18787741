"""Evidence that cannot be true is set aside: unknown, with what was published and why it is doubted kept beside it."""

from __future__ import annotations

import pytest

from tests.health.polls import Bridge, says

TIES = {"stats": ("error_rate", "availability", "latency")}


def tied(requests: float, latency: float = 0.0) -> dict[str, dict[str, float]]:
    """What a gateway says whose three gauges come out of one broken step."""
    return {
        "requests": {"groq": requests},
        "latency": {"groq": latency},
        "error_rate": {"groq": 0.0},
        "availability": {"groq": 100.0},
    }


def believed(bridge: Bridge, provider: str = "groq") -> dict[str, float | None]:
    names = {"error rate": "error_rate", "availability": "availability", "average latency": "latency"}
    return {short: bridge.evidence(provider, name).value for name, short in names.items()}


class TestTiedSignals:
    def test_an_impossible_latency_sets_aside_all_that_share_its_source(self) -> None:
        bridge = Bridge()
        bridge.poll(says(**tied(164), ties=TIES))
        assert believed(bridge) == {"error_rate": None, "availability": None, "latency": None}
        reason = (
            "set aside: latency is 0 for groq, who served 164 requests: "
            "impossible, and availability, error_rate, latency share that source"
        )
        for name, published in (("error rate", 0), ("availability", 100), ("average latency", 0)):
            found = bridge.evidence("groq", name)
            assert (found.note, found.published) == (reason, published)

    @pytest.mark.parametrize(
        ("requests", "possible"), [({"groq": 1}, False), ({"groq": 0}, True), ({"xai": 1}, True), ({}, True)]
    )
    def test_a_latency_of_0_is_impossible_once_one_request_was_served(
        self, requests: dict[str, float], possible: bool
    ) -> None:
        bridge = Bridge()
        bridge.poll(says(requests=requests, latency={"groq": 0.0}, availability={"groq": 100.0}, ties=TIES))
        assert bridge.evidence("groq", "availability").value == (100 if possible else None)

    @pytest.mark.parametrize("latency", [0.0, -1.0])
    def test_one_provider_convicts_the_source_for_all(self, latency: float) -> None:
        bridge = Bridge()
        both = {
            "requests": {"groq": 9, "xai": 0},
            "latency": {"groq": latency, "xai": 0.5},
            "error_rate": {"groq": 0.1, "xai": 0.2},
        }
        bridge.poll(says(**both, ties=TIES))
        assert bridge.evidence("xai", "error rate").value is None
        assert bridge.evidence("xai", "average latency").value is None

    def test_signals_of_another_source_stay_believed(self) -> None:
        bridge = Bridge()
        for requests in (160, 164):
            said = tied(requests)
            bridge.poll(says(**said, reported_score={"groq": 90}, ties={"stats": ("latency", "availability")}))
        assert believed(bridge) == {"error_rate": 0.0, "availability": None, "latency": None}
        assert bridge.value("groq", "provider_reported_health_score") == 90
        other = Bridge()
        for requests in (160, 164):
            other.poll(says(**tied(requests), ties={"another": ("error_rate", "availability")}))
        assert believed(other) == {"error_rate": 0.0, "availability": 100.0, "latency": None}

    def test_a_possible_latency_is_believed_with_all_that_share_its_source(self) -> None:
        bridge = Bridge()
        for requests in (160, 164):
            bridge.poll(says(**tied(requests, latency=0.8), ties=TIES))
        assert believed(bridge) == {"error_rate": 0.0, "availability": 100.0, "latency": 0.8}

    def test_they_stay_disbelieved_at_the_turn_of_the_hour(self) -> None:
        """No request is counted yet, so that a latency of 0 would else look possible for one poll."""
        bridge = Bridge()
        for requests in (164, 0, 0, 3):
            bridge.poll(says(**tied(requests), ties=TIES))
            assert set(believed(bridge).values()) == {None}
            assert bridge.evidence("groq", "availability").published == 100

    def test_they_stay_disbelieved_through_the_loss_of_their_family(self) -> None:
        bridge = Bridge()
        bridge.poll(says(**tied(164), circuits={"groq": "CLOSED"}, ties=TIES))
        bridge.poll(says(circuits={"groq": "CLOSED"}))
        bridge.poll(says(**tied(0), circuits={"groq": "CLOSED"}, ties=TIES))
        assert believed(bridge) == {"error_rate": None, "availability": 100.0, "latency": None}
        assert bridge.evidence("groq", "availability").source == "bridge, 1 of 1 circuits not OPEN"

    def test_they_are_believed_again_once_a_positive_latency_is_published(self) -> None:
        bridge = Bridge()
        bridge.poll(says(**tied(164), ties=TIES))
        bridge.poll(says(**tied(170, latency=0.8), ties=TIES))
        assert believed(bridge) == {"error_rate": 0.0, "availability": 100.0, "latency": 0.8}
        bridge.poll(says(**tied(0), ties=TIES))
        assert bridge.evidence("groq", "availability").value == 100, "nothing impossible since"

    def test_a_gateway_without_ties_is_convicted_of_nothing_more(self) -> None:
        bridge = Bridge()
        for requests in (160, 164):
            bridge.poll(says(**tied(requests)))
        assert believed(bridge) == {"error_rate": 0.0, "availability": 100.0, "latency": None}
        assert bridge.evidence("groq", "average latency").note == "set aside: no request takes no time"


class TestContradictedByAnOpenCircuit:
    @pytest.mark.parametrize(
        ("signal", "published", "name"), [("error_rate", 0.0, "error rate"), ("availability", 100.0, "availability")]
    )
    def test_perfection_is_set_aside_while_a_circuit_is_open(self, signal: str, published: float, name: str) -> None:
        bridge = Bridge()
        shown = []
        for state in ("CLOSED", "OPEN", "HALF_OPEN", "OPEN", "CLOSED"):
            gauges = {signal: {"groq": published, "xai": published}}
            bridge.poll(says(circuits={"groq/a": state, "groq/b": "CLOSED", "xai": "CLOSED"}, **gauges))
            found = bridge.evidence("groq", name)
            shown.append(found.published is None)
            if not shown[-1]:
                assert found.published == published
                assert found.note == "set aside: contradicted by an OPEN circuit"
            assert bridge.evidence("xai", name).value == published, "its neighbour's circuits are its own"
        assert shown == [True, False, True, False, True]

    @pytest.mark.parametrize(("error_rate", "availability"), [(0.001, 99.9), (1.0, 0.0), (0.5, 50.0)])
    def test_anything_less_than_perfect_is_believed(self, error_rate: float, availability: float) -> None:
        bridge = Bridge()
        bridge.poll(
            says(circuits={"groq": "OPEN"}, error_rate={"groq": error_rate}, availability={"groq": availability})
        )
        assert bridge.value("groq", "provider_error_rate") == error_rate
        assert bridge.value("groq", "provider_availability") == availability

    def test_a_derived_open_circuit_contradicts_as_well(self) -> None:
        bridge = Bridge()
        for n in (0, 5):
            bridge.poll(says(requests={"groq": n}, failures={"groq": n}, availability={"groq": 100}))
        assert bridge.states() == {"groq": "OPEN"}
        assert bridge.value("groq", "provider_availability") == 0
        assert bridge.evidence("groq", "availability").published == 100

    def test_with_its_gauge_set_aside_availability_is_the_share_of_circuits_not_open(self) -> None:
        bridge = Bridge()
        bridge.poll(
            says(
                circuits={"groq/a": "OPEN", "groq/b": "HALF_OPEN", "groq/c": "CLOSED", "groq/d": "CLOSED"},
                availability={"groq": 100},
            )
        )
        found = bridge.evidence("groq", "availability")
        assert (found.value, found.published) == (75.0, 100.0)
        assert found.source == "bridge, 3 of 4 circuits not OPEN"
        assert found.note == "set aside: contradicted by an OPEN circuit"


class TestNoTraffic:
    def test_a_published_error_rate_of_a_provider_without_requests_is_set_aside(self) -> None:
        """The gateway prints 0; zero traffic is not perfection."""
        bridge = Bridge()
        for _ in range(2):
            bridge.poll(says(requests={"groq": 5}, error_rate={"groq": 0.0}))
        assert bridge.value("groq", "provider_error_rate") is None
        found = bridge.evidence("groq", "error rate")
        assert found.published == 0
        assert found.note == "set aside: no requests in the window: no traffic is not perfection"

    def test_nothing_else_is_set_aside_for_want_of_requests(self) -> None:
        bridge = Bridge()
        for _ in range(2):
            gauges = {"availability": {"groq": 99.0}, "reported_score": {"groq": 90.0}, "latency": {"groq": 1.0}}
            bridge.poll(says(requests={"groq": 5}, **gauges))
        values = bridge.verdict("groq").values
        assert (values["provider_availability"], values["provider_reported_health_score"]) == (99, 90)
        assert values["provider_latency_seconds"] == 1

    def test_with_requests_it_is_believed(self) -> None:
        bridge = Bridge()
        for n in (5, 9):
            bridge.poll(says(requests={"groq": n}, error_rate={"groq": 0.0}))
        assert bridge.value("groq", "provider_error_rate") == 0


class TestSources:
    """Every number says where it comes from."""

    def test_counters_speak_before_the_gauge(self) -> None:
        bridge = Bridge()
        for n in (0, 100):
            bridge.poll(says(requests={"groq": n}, failures={"groq": n / 4}, error_rate={"groq": 0.9}))
        found = bridge.evidence("groq", "error rate")
        assert found.value == pytest.approx(0.25)
        assert (found.source, found.note) == ("bridge, from failures (test)", "over 15 seconds")

    def test_the_gauge_speaks_for_a_provider_that_is_not_counted(self) -> None:
        bridge = Bridge()
        for n in (0, 100):
            bridge.poll(says(requests={"xai": n}, failures={"xai": n / 4}, error_rate={"groq": 0.9}))
        assert bridge.value("groq", "provider_error_rate") == 0.9

    def test_one_poll_is_said_not_to_be_enough_for_a_rate(self) -> None:
        bridge = Bridge()
        names = ("error rate", "requests per second", "latency p95", "average latency")
        said = []
        for n in (5, 6):
            buckets = {"groq": {"1": n, "+Inf": n}}
            bridge.poll(says(requests={"groq": n}, failures={"groq": 0}, buckets=buckets, seconds={"groq": n}))
            said.append([bridge.evidence("groq", name).note for name in names])
        not_enough = "one poll is not enough for a rate"
        assert said[0] == [
            not_enough,
            not_enough,
            "no requests over 5 minutes, or not two polls yet",
            "the gateway does not give it",
        ]
        assert said[1] == ["over 15 seconds"] * 4
        assert bridge.evidence("groq", "requests per second").source == "bridge, from requests (test)"
        assert bridge.evidence("groq", "latency p95").source == "bridge, from latency_histogram (test)"

    def test_a_gauge_names_its_family_and_dialect(self) -> None:
        bridge = Bridge()
        bridge.poll(says(error_rate={"groq": 0.9}))
        assert bridge.evidence("groq", "error rate").source == "error_rate (test)"

    def test_what_is_not_given_is_said_to_be(self) -> None:
        bridge = Bridge()
        bridge.poll(says(reported_score={"groq": 90}))
        assert bridge.evidence("groq", "error rate").note == "the gateway does not give it"
        assert bridge.evidence("groq", "latency p95").note == "the gateway gives no histogram"
        assert bridge.evidence("groq", "requests per second").note == "the gateway counts no requests for it"

    def test_what_is_given_for_another_provider_is_not_given_for_this_one(self) -> None:
        bridge = Bridge()
        gauges = {name: {"groq": 0.5} for name in ("reported_score", "error_rate", "availability", "latency", "cost")}
        bridge.poll(says(circuits={"xai": "CLOSED"}, requests={"groq": 1}, **gauges))
        for name in ("reported score", "error rate", "average latency"):
            assert bridge.evidence("xai", name).value is None
            assert bridge.evidence("xai", name).note == "the gateway does not give it"
        assert bridge.value("xai", "provider_cost_usd") is None
        assert bridge.value("xai", "provider_request_rate") is None
