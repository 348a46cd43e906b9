"""rules.telling.incidents: what was wrong, from when to when, and what wallets noticed."""

from __future__ import annotations

from typing import Any

import pytest

from rpcproxy.rules.telling.incidents import KEPT, Incident, Incidents
from rpcproxy.rules.telling.sample import ChainSample
from rpcproxy.rules.telling.troubles import suspect_domain
from tests.kits.samples import START, a_chain, an_upstream, with_state


class Log:
    """Steps of five seconds."""

    def __init__(self) -> None:
        self.incidents = Incidents()
        self.now = START

    def step(self, chain: ChainSample, requests: int = 0, unserved: int = 0) -> None:
        self.now += 5.0
        self.incidents.step(chain, self.now, requests, unserved)

    def told(self) -> list[tuple[str, str, float, float | None]]:
        return [
            (
                each.subject,
                each.kind,
                each.started_unix - START,
                None if each.ended_unix is None else each.ended_unix - START,
            )
            for each in self.incidents.latest_first()
        ]


def test_an_outage_of_one_has_its_times_and_what_wallets_noticed() -> None:
    log = Log()
    log.step(a_chain())
    down = an_upstream("a", "ejected", reason="two refusals", since_seconds=2.0)
    log.step(a_chain(down, an_upstream("b")), requests=10)
    assert log.told() == [("a", "ejected", 8.0, None)]
    log.step(a_chain(down, an_upstream("b")), requests=10, unserved=1)
    log.step(a_chain(an_upstream("a", since_seconds=1.0), an_upstream("b")), requests=5)
    assert log.told() == [("a", "ejected", 8.0, 19.0)]
    (incident,) = log.incidents.latest_first()
    assert (incident.cause, incident.times) == ("two refusals", 1)
    assert (incident.requests, incident.unserved) == (25, 1)


def test_it_is_called_after_the_worst_it_came_to() -> None:
    log = Log()
    for state in ("lagging", "cooling", "quarantined", "ejected", "cooling"):
        log.step(with_state({"a": state, "b": "up"}))
    (incident,) = log.incidents.latest_first()
    assert incident.kind == "quarantined"


def test_what_is_over_at_once_is_not_told_unless_somebody_noticed() -> None:
    brief = a_chain(an_upstream("a", "cooling", since_seconds=0.5), an_upstream("b"))
    well = a_chain(an_upstream("a", since_seconds=2.0), an_upstream("b"))
    log = Log()
    log.step(brief)
    log.step(well)
    assert log.told() == []
    log.step(brief)
    log.step(well, requests=3, unserved=1)
    assert [each.unserved for each in log.incidents.latest_first()] == [1]


def test_one_that_flaps_has_one_incident_several_times() -> None:
    log = Log()
    for _ in range(4):
        log.step(with_state({"a": "ejected", "b": "up"}))
        log.step(with_state({"a": "ejected", "b": "up"}))
        log.step(with_state({"a": "up", "b": "up"}))
    assert [each.times for each in log.incidents.latest_first()] == [4]
    log.now += 300.0
    log.step(with_state({"a": "ejected", "b": "up"}))
    assert [each.times for each in log.incidents.latest_first()] == [1, 4]


def test_the_chain_itself() -> None:
    log = Log()
    log.step(a_chain(halted_seconds=40.0))
    assert log.told() == [("", "halted", -35.0, None)]
    log.step(a_chain(is_split=True))
    log.step(a_chain(is_split=True))
    log.step(a_chain())
    assert [each[:2] for each in log.told()] == [("", "split"), ("", "halted")]


def test_nobody_can_serve() -> None:
    log = Log()
    downs = [an_upstream(name, "ejected", since_seconds=20.0) for name in "ab"]
    log.step(a_chain(*downs, outage_seconds=20.0))
    told = {each.kind: each for each in log.incidents.latest_first()}
    assert told["outage"].cause == "a ejected; b ejected"
    assert len(log.told()) == 3


def test_a_proxy_that_starts_has_no_incident() -> None:
    log = Log()
    for seconds in (1.0, 14.0):
        fresh = [an_upstream(name, "unknown", since_seconds=seconds) for name in "ab"]
        log.step(a_chain(*fresh, outage_seconds=seconds))
    assert log.told() == []
    stale = [an_upstream(name, "unknown", since_seconds=20.0) for name in "ab"]
    log.step(a_chain(*stale, outage_seconds=20.0))
    assert {each[1] for each in log.told()} == {"outage", "unknown"}


def test_a_drained_upstream_is_no_reason_to_tell_of_an_outage_at_a_start() -> None:
    log = Log()
    drained = an_upstream("c", "drained", since_seconds=1.0)
    fresh = [an_upstream(name, "unknown", since_seconds=1.0) for name in "ab"]
    log.step(a_chain(*fresh, drained, outage_seconds=1.0))
    assert log.told() == []
    log.step(a_chain(drained, outage_seconds=6.0))
    assert {each[1] for each in log.told()} == {"outage"}


@pytest.mark.parametrize(
    ("places", "domain"),
    [
        ([], ""),
        ([("aws", "us-east-1"), ("aws", "us-east-1")], "aws/us-east-1"),
        ([("aws", "us-east-1"), ("aws", "eu-west-1")], "aws"),
        ([("aws", "unknown"), ("aws", "unknown")], "aws"),
        ([("aws", "us-east-1"), ("gcp", "us-east-1")], "a fault domain"),
    ],
)
def test_a_fault_domain_is_named_as_narrowly_as_can_be(places, domain) -> None:
    suspects = [
        an_upstream(f"u{at}", is_suspect=True, cloud=cloud, region=region)
        for at, (cloud, region) in enumerate(places)
    ]
    assert suspect_domain(a_chain(an_upstream("well"), *suspects)) == domain


def test_a_fault_domain_has_its_incident() -> None:
    log = Log()
    suspects = [
        an_upstream(name, is_suspect=True, cloud="aws", region="us-east-1") for name in "ab"
    ]
    log.step(a_chain(*suspects))
    assert log.told() == [("aws/us-east-1", "suspect", 5.0, None)]


def test_errors_between_two_looks_are_one_incident() -> None:
    log = Log()
    for _ in range(3):
        log.now += 5.0
        log.incidents.note_errors("ethereum", "a ejected: reset", log.now, 2)
    (incident,) = log.incidents.latest_first()
    assert (incident.kind, incident.unserved, incident.times) == ("errors", 6, 3)
    log.step(with_state({"a": "ejected", "b": "up"}))
    log.incidents.note_errors("ethereum", "counted there already", log.now, 2)
    assert len(log.told()) == 2


def test_a_chain_that_is_removed_ends_its_incidents() -> None:
    log = Log()
    log.step(with_state({"a": "ejected", "b": "up"}))
    log.incidents.end_chain("another", log.now)
    assert log.told()[0][3] is None
    log.incidents.end_chain("ethereum", log.now + 10)
    assert log.told()[0][3] == 15.0


def test_they_are_bounded() -> None:
    log = Log()
    for _ in range(KEPT + 20):
        log.now += 300.0
        log.step(with_state({"a": "ejected", "b": "up"}))
        log.now += 10.0
        log.step(with_state({"a": "up", "b": "up"}))
    assert len(log.told()) == KEPT
    ends = [each[3] or 0.0 for each in log.told()]
    assert ends == sorted(ends, reverse=True)


# ---- at the start


def starting(seconds: float) -> ChainSample:
    fresh = [an_upstream(name, "unknown", since_seconds=seconds) for name in "ab"]
    return a_chain(*fresh, outage_seconds=seconds)


def test_what_was_not_served_before_an_outage_was_known_belongs_to_it() -> None:
    log = Log()
    for seconds in (5.0, 10.0):
        log.step(starting(seconds), requests=4, unserved=3)
    assert log.told() == []
    log.step(starting(15.0), requests=1, unserved=1)
    outage = next(each for each in log.incidents.latest_first() if each.kind == "outage")
    assert (outage.started_unix, outage.requests, outage.unserved) == (START, 9, 7)


def test_what_was_not_served_at_the_start_is_told_though_nothing_was_wrong() -> None:
    log = Log()
    log.step(starting(5.0), requests=4, unserved=3)
    log.step(a_chain(), requests=2)
    log.step(a_chain(), requests=2)
    (incident,) = log.incidents.latest_first()
    assert (incident.kind, incident.unserved) == ("errors", 3)
    assert incident.cause == "the proxy had just started: no upstream was known yet"


# ---- through a restart


def left(**fields: Any) -> Incident:
    """As the process before this one left it under way."""
    told: dict[str, Any] = {
        "chain": "ethereum",
        "subject": "a",
        "kind": "ejected",
        "cause": "reset",
        "started_unix": START - 500,
        "requests": 40,
        "unserved": 4,
    }
    return Incident(**{**told, **fields})


def test_an_incident_goes_on_through_a_restart() -> None:
    log = Log()
    before = left()
    log.incidents.resume([before], START - 20)
    new = an_upstream("a", "unknown", since_seconds=4.0)
    log.step(a_chain(new, an_upstream("b")), requests=2, unserved=1)
    assert log.told() == [("a", "ejected", -500.0, None)], "nobody knows yet"
    assert log.incidents.has_open("ethereum")
    log.step(a_chain(an_upstream("a", "ejected", since_seconds=1.0), an_upstream("b")), requests=1)
    (incident,) = log.incidents.latest_first()
    assert (incident.id, incident.started_unix, incident.ended_unix) == (
        "ethereum:a@1799999500.000",
        START - 500,
        None,
    )
    assert (incident.requests, incident.unserved, incident.times) == (43, 5, 1)


def test_one_that_is_not_found_again_ended_when_it_was_last_seen() -> None:
    log = Log()
    outage = left(subject="", kind="outage")
    gone = left(subject="gone")
    elsewhere = left(chain="base")
    refused = left(chain="", subject="", kind="clients_refused")
    log.incidents.resume([left(), outage, gone, elsewhere, refused], START - 20)
    log.incidents.step_process([], START)
    log.step(a_chain(an_upstream("a"), an_upstream("b")))
    log.incidents.end_chains_but(["ethereum"], log.now)
    assert {each[3] for each in log.told()} == {-20.0}
    assert len(log.told()) == 5


def test_what_both_processes_saw_is_one_incident() -> None:
    log = Log()
    down = an_upstream("a", "ejected", reason="timeouts", since_seconds=2.0)
    log.step(a_chain(down, an_upstream("b")), requests=5, unserved=1)
    log.incidents.resume([left(), left(subject="b", ended_unix=START - 100)], START + 4)
    assert log.told() == [("a", "ejected", -500.0, None), ("b", "ejected", -500.0, -100.0)]
    (incident, _) = log.incidents.latest_first()
    assert (incident.id, incident.requests, incident.unserved, incident.times) == (
        left().id,
        45,
        5,
        1,
    )
    # Again, as where a copy was read before: nothing is counted twice.
    log.incidents.resume([left(subject="b", ended_unix=START - 100)], START + 4)
    assert len(log.told()) == 2


def test_one_that_ended_before_the_other_process_saw_it_came_back() -> None:
    log = Log()
    log.step(a_chain(an_upstream("a", "ejected", since_seconds=2.0), an_upstream("b")))
    log.step(a_chain(an_upstream("a"), an_upstream("b")))
    log.incidents.resume([left(ended_unix=START - 30)], START)
    assert [(each.id, each.times) for each in log.incidents.latest_first()] == [(left().id, 2)]


def test_what_is_over_at_once_is_known_all_the_same() -> None:
    log = Log()
    for _ in range(3):
        log.step(a_chain(an_upstream("a", "cooling", since_seconds=0.5), an_upstream("b")))
        log.step(a_chain(an_upstream("a", since_seconds=4.9), an_upstream("b")))
    assert log.told() == []
    assert [(each.subject, each.times) for each in log.incidents.every()] == [("a", 3)]


def test_that_few_are_left_is_known_and_not_told_of_besides() -> None:
    log = Log()
    log.step(with_state({"a": "ejected", "b": "ejected"}, is_panicking=True))
    assert [each[1] for each in log.told()] == ["ejected", "ejected"]
    panic = next(each for each in log.incidents.every() if each.kind == "panic")
    assert panic.cause == "0 of 2 could be asked"
