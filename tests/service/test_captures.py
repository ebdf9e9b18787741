"""A real gateway's incident, through the deployed service: what it answers after each poll is what was the case."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.captures import Scrape, scrapes
from tests.service.harness import Service, as_rows, running, wait_until

pytestmark = pytest.mark.service

TARGETS = (
    "provider_reported_health_score",
    "model_circuit_breaker_state",
    "provider_availability",
    "circuits",
    "providers",
    "explain",
    "transitions",
)
STATES = ("CLOSED", "OPEN", "HALF_OPEN")
SET_ASIDE = ("error rate", "availability", "average latency")


class Answer(NamedTuple):
    """What the service said after one scrape was polled."""

    scrape: Scrape
    by_target: Mapping[str, Any]
    rejected_lines: int

    def rows(self, table: str) -> list[dict[str, Any]]:
        return as_rows(self.by_target[table])

    def values(self, metric: str) -> dict[tuple[str, ...], float | None]:
        return {tuple(series["tags"].values()): series["datapoints"][-1][0] for series in self.by_target[metric]}

    def providers(self) -> dict[str, dict[str, Any]]:
        return {row["Provider"]: row for row in self.rows("providers")}

    def circuits(self) -> dict[tuple[str, str], str]:
        return {(row["Provider"], row["Model"]): row["State"] for row in self.rows("circuits")}

    def true_circuits(self) -> dict[tuple[str, str], str]:
        return {
            (it["provider"], it["model"]): it["state"]
            for it in self.scrape.truth["circuits"]
            if readable(it["provider"])
        }

    def true_scores(self) -> dict[str, float]:
        return {name: score for name, score in self.scrape.truth["published_scores"].items() if readable(name)}


def readable(name: str) -> bool:
    """False for a name with a line break: the gateway does not escape it, and so breaks the line."""
    return "\n" not in name


def ask_everything(service: Service) -> tuple[float, dict[str, Any], int | None]:
    """The snapshot's time (epoch seconds), each target's answer, and how many lines could not be read.

    All targets go in one request, so that they are of one snapshot; the summary is asked for after it.
    """
    by_target: dict[str, Any] = {target: [] for target in TARGETS}
    for entry in service.query(*TARGETS):
        if "columns" in entry:
            by_target[entry["refId"]] = entry
        else:
            by_target[entry["refId"]].append(entry)
    [at] = {at for series in by_target["model_circuit_breaker_state"] for _, at in series["datapoints"]}
    summary = service.summary()
    of_the_same_poll = summary["snapshot_time"] == at
    return at / 1000, by_target, summary["gateway"]["rejected_lines"] if of_the_same_poll else None


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """What the service answered after each scrape of the capture was polled."""
    capture = scrapes("gatewayz-data")
    found: list[Answer] = []
    served: list[int] = []

    def next_scrape() -> bytes:
        """The first scrape whose answers are still wanted: a slow machine may poll one twice, and misses none."""
        served.append(min(len(found), len(capture) - 1))
        return capture[served[-1]].body

    with running(next_scrape) as gateway:
        service = Service(tmp_path_factory.mktemp("captures"), {"GATEWAYZ_API_URL": gateway.url})
        try:
            service.start()
            wait_until(lambda: service.get("/ready").status == 200, "there is a first poll")

            def all_polled() -> bool:
                at, by_target, rejected_lines = ask_everything(service)
                # A poll is stamped just before it is sent: the first request from then on is its own.
                number = served[bisect_left(gateway.asked_at, at - 0.0005)]
                if number == len(found) and rejected_lines is not None:
                    found.append(Answer(capture[number], by_target, rejected_lines))
                return len(found) == len(capture)

            wait_until(all_polled, "every scrape was polled", seconds=3.0 * len(capture), every=0.1)
        finally:
            service.kill()
    return found


def in_phase(answers: list[Answer], phase: str) -> list[Answer]:
    return [answer for answer in answers if answer.scrape.phase == phase]


def test_after_each_poll_reported_scores_are_the_published_ones(answers: list[Answer]) -> None:
    for answer in answers:
        told = answer.values("provider_reported_health_score")
        known = {provider: score for (provider,), score in told.items() if score is not None}
        assert known == answer.true_scores(), answer.scrape.name
        column = {name: row["Reported score"] for name, row in answer.providers().items()}
        assert {name: score for name, score in column.items() if score is not None} == known, answer.scrape.name


def test_after_each_poll_circuits_are_in_the_state_they_are_really_in(answers: list[Answer]) -> None:
    for answer in answers:
        told = answer.values("model_circuit_breaker_state")
        known = {key: STATES[int(state)] for key, state in told.items() if state is not None}
        assert known == answer.true_circuits(), answer.scrape.name
        assert answer.circuits() == answer.true_circuits(), answer.scrape.name


def test_after_each_poll_the_unreadable_lines_are_counted_and_no_others(answers: list[Answer]) -> None:
    for answer in answers:
        lines = answer.scrape.body.decode().splitlines()
        broken = [line for line in lines if line.endswith("\\\\pro") or line.startswith("vider")]
        assert answer.rejected_lines == len(broken), answer.scrape.name
    assert answers[-1].rejected_lines > 0


def test_impossible_evidence_is_set_aside_from_the_first_poll_on_with_the_reason(answers: list[Answer]) -> None:
    for answer in answers:
        explained = {(row["Provider"], row["What"]): row for row in answer.rows("explain")}
        for provider in answer.true_scores():
            for what in SET_ASIDE:
                row = explained[provider, what]
                assert row["Note"].startswith("set aside: "), (answer.scrape.name, row)
                assert row["Published"] == {"availability": 100.0}.get(what, 0.0)
            row = answer.providers()[provider]
            assert (row["Error rate"], row["Latency"]) == (None, None), answer.scrape.name


def test_availability_is_the_share_of_circuits_not_open(answers: list[Answer]) -> None:
    for answer in answers:
        told = answer.values("provider_availability")
        for provider in answer.true_scores():
            states = [state for (of, _), state in answer.true_circuits().items() if of == provider]
            closed = sum(state != "OPEN" for state in states)
            assert told[provider,] == round(100 * closed / len(states), 1), (answer.scrape.name, provider)


def test_while_one_model_fails_openrouter_is_degraded_one_of_four_open(answers: list[Answer]) -> None:
    failing = [answer for answer in in_phase(answers, "onemodel") if "OPEN" in answer.true_circuits().values()]
    assert len(failing) >= 5
    for answer in failing:
        rows = answer.providers()
        row = rows.pop("openrouter")
        assert (row["Status"], row["Circuit"], row["Open circuits"]) == ("degraded", "OPEN", "1 of 4")
        assert {row["Status"] for row in rows.values()} == {"healthy"}, answer.scrape.name


def test_when_groq_fails_altogether_it_alone_is_down(answers: list[Answer]) -> None:
    for answer in in_phase(answers, "provider"):
        down = [name for name, row in answer.providers().items() if row["Status"] == "down"]
        assert down == ["groq"], answer.scrape.name


def test_after_the_recovery_everyone_is_healthy(answers: list[Answer]) -> None:
    last = in_phase(answers, "recovery")[-1]
    assert {row["Status"] for row in last.providers().values()} == {"healthy"}


def test_while_the_gateways_store_is_down_scores_are_unknown_and_circuits_stand(answers: list[Answer]) -> None:
    before = in_phase(answers, "roster")[-1]
    for answer in in_phase(answers, "redisdown"):
        assert set(answer.values("provider_reported_health_score").values()) == {None}
        assert answer.circuits() == before.circuits()
        assert answer.providers().keys() == before.providers().keys(), "somebody vanished"


def test_newcomers_appear_and_nobody_ever_vanishes(answers: list[Answer]) -> None:
    roster = [(row["Provider"], row["To"]) for row in answers[-1].rows("transitions") if row["Kind"] == "roster"]
    assert sorted(roster) == [("mistral", "present"), ("名前-provider", "present")]


def test_every_move_of_a_circuit_is_a_transition_and_nothing_else_is(answers: list[Answer]) -> None:
    moves = []
    before: dict[tuple[str, str], str] = {}
    for answer in answers:
        for key, state in answer.true_circuits().items():
            if before.get(key, state) != state:
                moves.append((*key, before[key], state))
            before[key] = state
    told = [
        (row["Provider"], row["Model"], row["From"], row["To"])
        for row in answers[-1].rows("transitions")
        if row["Kind"] == "circuit"
    ]
    assert sorted(told) == sorted(moves)
