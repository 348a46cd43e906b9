"""rules.telling.notices and rules.telling.bulletin: what webhooks are told of, when, and in which shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rpcproxy.rules.telling.bulletin import LONGEST_CONTENT, body_of, shape_of, text_of
from rpcproxy.rules.telling.notices import (
    GROUP_SECONDS,
    MESSAGES_PER_MINUTE,
    MOST_LINES,
    OUTAGE_TOLD_SECONDS,
    Bulletin,
    Conditions,
    Gathering,
    Line,
    NoticeEvent,
    Outages,
)
from rpcproxy.rules.telling.sample import ChainSample, Sample, UpstreamSample
from rpcproxy.states import CHANGES, EVENTS, URGENT


def an_event(kind: str, upstream: str = "a", **fields: Any) -> NoticeEvent:
    return NoticeEvent(kind=kind, chain="ethereum", upstream=upstream, unix_seconds=1e9, **fields)


def shaped(bulletin: Bulletin, shape: Any, redact: Any) -> Any:
    return json.loads(json.dumps(body_of(bulletin, shape, redact)))


def told_of(*events: NoticeEvent, **fields: int) -> Bulletin:
    return Bulletin(lines=tuple(Line(event) for event in events), **fields)


# ---- conditions


def test_an_end_without_a_beginning_is_no_news() -> None:
    conditions = Conditions()
    assert conditions.told(an_event("readmitted")) is None
    assert conditions.told(an_event("quarantined")) is not None
    assert conditions.told(an_event("readmitted", "b")) is None
    ended = conditions.told(an_event("readmitted"))
    assert ended is not None
    assert ended.is_over
    assert conditions.told(an_event("readmitted")) is None


def test_an_upstream_is_well_once_all_its_classes_are() -> None:
    conditions = Conditions()
    conditions.told(an_event("ejected"))
    over = [
        told.is_over
        for name in ("light", "heavy", "send")
        if (told := conditions.told(an_event("recovered", method_class=name)))
    ]
    assert over == [False, False, True]
    conditions.told(an_event("ejected", method_class="heavy"))
    ended = conditions.told(an_event("recovered", method_class="heavy"))
    assert ended is not None
    assert ended.is_over


def test_a_stalled_head_is_over_with_having_caught_up() -> None:
    conditions = Conditions()
    assert conditions.told(an_event("stalled_head")) is not None
    ended = conditions.told(an_event("caught_up"))
    assert ended is not None
    assert (ended.is_over, ended.condition) == (True, "lagging")


def test_a_chain_that_is_gone_ends_nothing() -> None:
    conditions = Conditions()
    conditions.told(an_event("ejected"))
    conditions.forget_chains_but(["base"])
    assert conditions.told(an_event("recovered")) is None


def test_reloads_are_told_each_for_itself() -> None:
    reload = NoticeEvent(kind="config_reload", reason="taken over", is_over=True)
    assert Conditions().told(reload) is reload


def test_every_end_and_its_beginning_can_be_asked_for() -> None:
    ends = {kind: row.ends for kind, row in CHANGES.items() if row.ends is not None}
    assert {*ends, *ends.values()} <= set(EVENTS)
    for end, beginning in ends.items():
        assert (end in URGENT) == (beginning in URGENT)


# ---- outages


def a_sample(seconds: float, outage_seconds: float | None, chain: str = "ethereum") -> Sample:
    upstream = UpstreamSample(
        **dict.fromkeys(("provider", "cloud", "region", "tier", "reason"), "x"),
        name="infura",
        role="full",
        state="ejected",
        since_seconds=1.0,
        head=None,
        lag=None,
        latency_seconds=None,
        cooldown_seconds=0.0,
        rate_level=None,
        is_suspect=False,
        attempts={},
        probes={},
        times={},
    )
    chains = ChainSample(
        name=chain,
        identity="1",
        usable=0,
        served_head=None,
        head_age_seconds=None,
        halted_seconds=None,
        outage_seconds=outage_seconds,
        is_panicking=False,
        is_split=False,
        requests={},
        upstreams=(upstream,),
    )
    return Sample(unix_seconds=1e9 + seconds, seconds=seconds, chains=(chains,))


def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    outages = Outages()
    assert not list(outages.compare(a_sample(0.0, OUTAGE_TOLD_SECONDS - 1)))
    (begun,) = outages.compare(a_sample(5.0, OUTAGE_TOLD_SECONDS + 1))
    assert (begun.kind, begun.chain, begun.unix_seconds) == ("outage", "ethereum", 1e9 + 1.0)
    assert "infura ejected" in begun.reason
    assert not list(outages.compare(a_sample(10.0, OUTAGE_TOLD_SECONDS + 6)))
    (ended,) = outages.compare(a_sample(15.0, None))
    assert (ended.kind, ended.reason) == ("outage_over", "after 14 s")
    assert not list(outages.compare(a_sample(20.0, None)))


def test_a_moment_without_anybody_is_no_outage() -> None:
    outages = Outages()
    samples = (a_sample(0.0, 0.1), a_sample(5.0, None))
    assert [event for sample in samples for event in outages.compare(sample)] == []


def test_an_outage_of_a_chain_that_leaves_has_no_end() -> None:
    outages = Outages()
    assert len(list(outages.compare(a_sample(5.0, 5.0)))) == 1
    assert not list(outages.compare(a_sample(10.0, None, "base")))
    assert not list(outages.compare(a_sample(15.0, None)))


# ---- gathering


def test_what_comes_together_is_told_together() -> None:
    gathering = Gathering(0.0)
    assert gathering.due(0.0) is None
    assert gathering.take(0.0) is None
    gathering.add(an_event("ejected", "a"), 100.0)
    gathering.add(an_event("ejected", "b"), 101.0)
    assert gathering.due(101.0) == 100.0 + GROUP_SECONDS
    bulletin = gathering.take(102.0)
    assert bulletin is not None
    assert [line.event.upstream for line in bulletin.lines] == ["a", "b"]
    assert gathering.due(103.0) is None


def test_a_flapping_upstream_does_not_flood() -> None:
    gathering = Gathering(0.0)
    now, messages = 0.0, []
    while now < 600.0:
        gathering.add(an_event("ejected"), now)
        gathering.add(an_event("recovered", is_over=True), now + 0.5)
        due = gathering.due(now + 0.5)
        if due is not None and due <= now + 0.5:
            messages.append(gathering.take(now + 0.5))
        now += 1.0
    assert 0.8 * MESSAGES_PER_MINUTE * 10 < len(messages) <= MESSAGES_PER_MINUTE * 10 + 4
    told = [message for message in messages if message is not None]
    assert max(len(message.lines) for message in told) == 2
    assert sum(message.count for message in told) > 1150  # all are told of, in numbers
    assert not any(message.left_out for message in told)


def test_too_many_are_counted_and_what_weighs_most_stays() -> None:
    gathering = Gathering(0.0)
    gathering.add(an_event("outage", ""), 0.0)
    left_out = sum(
        gathering.add(an_event("ejected", f"u{number}"), 1.0) for number in range(MOST_LINES + 4)
    )
    bulletin = gathering.take(10.0)
    assert bulletin is not None
    assert bulletin.left_out == left_out == 5
    assert len(bulletin.lines) == MOST_LINES
    assert bulletin.lines[0].event.kind == "outage"
    assert "and 5 more changes" in text_of(bulletin)


def test_what_reached_nobody_is_said_next_time() -> None:
    gathering = Gathering(0.0)
    for _ in range(2):
        gathering.add(an_event("ejected"), 0.0)
        lost = gathering.take(0.0)
        assert lost is not None
        gathering.on_undelivered(lost)
    gathering.add(an_event("ejected"), 0.0)
    bulletin = gathering.take(0.0)
    assert bulletin is not None
    assert "2 earlier changes could not be delivered" in text_of(bulletin)


# ---- words and shapes


@pytest.mark.parametrize(
    ("url", "shape"),
    [
        ("https://hooks.slack.com/services/T/B/x", "slack"),
        ("https://hooks.slack-gov.com/services/T/B/x", "slack"),
        ("https://discord.com/api/webhooks/1/x", "discord"),
        ("https://canary.discordapp.com/api/webhooks/1/x?wait=true", "discord"),
        ("https://discord.com/api/webhooks/1/x/slack", "slack"),
        ("http://alertmanager:9093/api/v2/alerts", "alertmanager"),
        ("https://notdiscord.com/api/webhooks/1/x", "all"),
        ("http://127.0.0.1:8080/hook", "all"),
    ],
)
def test_the_shape_follows_from_the_url(url: str, shape: str) -> None:
    assert shape_of(url) == shape


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            an_event("ejected", "infura", reason="3 timeouts", method_class="light"),
            "rpcproxy: ethereum: infura is left out for light calls: 3 timeouts",
        ),
        (an_event("outage", ""), "rpcproxy: ethereum: nobody can serve it"),
        (an_event("suspect", "aws/us-east-1"), "rpcproxy: ethereum: aws/us-east-1 is distrusted"),
        (
            NoticeEvent(kind="config_reload", reason="taken over"),
            "rpcproxy: configuration: taken over",
        ),
    ],
)
def test_one_event_is_one_sentence(event: NoticeEvent, words: str) -> None:
    assert text_of(told_of(event)) == words


def test_several_are_a_list() -> None:
    lines = (Line(an_event("ejected"), 3), Line(an_event("panic", "")))
    assert text_of(Bulletin(lines=lines)).splitlines() == [
        "rpcproxy:",
        "- ethereum: a is left out (3 times)",
        "- ethereum: fewer than half of the upstreams are usable",
    ]


def test_slack_gets_text_without_markup_or_mentions() -> None:
    body = shaped(told_of(an_event("ejected", reason="<!channel> & @here")), "slack", str)
    assert set(body) == {"text"}
    assert "&lt;!channel&gt; &amp; @\u200bhere" in body["text"]


def test_discord_gets_content_that_it_takes() -> None:
    events = [an_event("ejected", f"u{n}", reason="x" * 250) for n in range(MOST_LINES)]
    body = shaped(told_of(*events), "discord", str)
    assert len(body["content"]) <= LONGEST_CONTENT
    assert body["content"].endswith("\n…")
    assert body["allowed_mentions"] == {"parse": []}


def test_others_get_what_alertmanager_sends() -> None:
    begun = an_event("ejected", reason="3 timeouts")
    passed = [an_event("suspect", "aws"), an_event("unsuspect", "aws", is_over=True)]
    body = shaped(told_of(begun, *passed, left_out=2), "all", str)
    assert (body["version"], body["status"], body["truncatedAlerts"]) == ("4", "firing", 2)
    assert body["text"] == body["content"]
    ejected, suspect = body["alerts"]
    assert ejected["labels"] == {
        "alertname": "RpcproxyEjected",
        "severity": "warning",
        "service": "rpcproxy",
        "chain": "ethereum",
        "upstream": "a",
    }
    assert ejected["annotations"]["description"] == "3 timeouts"
    assert ejected["startsAt"] == "2001-09-09T01:46:40.000Z"
    assert (ejected["status"], suspect["status"]) == ("firing", "resolved")
    assert suspect["labels"]["domain"] == "aws"
    assert suspect["endsAt"] == suspect["startsAt"]
    assert body["commonLabels"] == {
        "chain": "ethereum",
        "service": "rpcproxy",
        "severity": "warning",
    }
    over = shaped(told_of(an_event("recovered", is_over=True)), "all", str)
    assert over["status"] == "resolved"
    assert over["alerts"][0]["labels"] == ejected["labels"]  # so that one ends the other


def test_no_secret_is_in_any_shape() -> None:
    secret = "k3y-0123456789"
    event = an_event("ejected", reason=f"GET https://x/{secret} failed")
    for shape in ("slack", "discord", "alertmanager", "all"):
        body = shaped(told_of(event), shape, lambda text: text.replace(secret, "[secret]"))
        assert secret not in json.dumps(body)
        assert "[secret]" in json.dumps(body)
