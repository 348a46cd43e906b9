"""rules.telling.plight: one sentence. Is it the line here, a provider, or the chain?"""

from __future__ import annotations

import pytest

from rpcproxy.rules.telling.chronicle import LastMinute, Traffic
from rpcproxy.rules.telling.plight import Plight, plight_of, span, summary, with_refusals
from rpcproxy.rules.telling.sample import ChainSample, Refusal, Refused
from tests.kits.samples import a_chain, an_upstream, with_state

QUIET = LastMinute()


def told(chain: ChainSample, recent: LastMinute = QUIET, title: str = "Ethereum") -> Plight:
    return plight_of(chain, title, recent)


WELL = dict.fromkeys("bcd", "up")
OTHERS = "wallets are served by three others"


@pytest.mark.parametrize(
    ("chain", "level", "whose", "sentence"),
    [
        (a_chain(), "well", "", "All well, served by four providers"),
        (a_chain(an_upstream("a")), "well", "", "All well, served by one provider"),
        (
            with_state({"a": "drained", **WELL}),
            "well",
            "",
            "All well, served by three providers; a is drained by an operator for 3 s",
        ),
        (
            with_state({"infura-us": "cooling", **WELL}),
            "troubled",
            "provider",
            f"infura-us is rate-limited, {OTHERS}",
        ),
        (
            with_state({"a": "ejected", "b": "cooling", "c": "up"}),
            "troubled",
            "provider",
            "a fails and b is rate-limited, wallets are served by one other",
        ),
        (
            with_state({"a": "ejected", "b": "ejected", "c": "ejected", "d": "up"}),
            "troubled",
            "provider",
            "Three providers fail on Ethereum, wallets are served by one other",
        ),
        (
            with_state({"a": "ejected", "b": "lagging", "c": "cooling", "d": "up"}),
            "troubled",
            "provider",
            "Three providers are in trouble on Ethereum, wallets are served by one other",
        ),
        (
            with_state({"a": "lagging", "b": "lagging"}, usable=2),
            "troubled",
            "provider",
            "a is behind and b is behind, the last ones still serve",
        ),
        (
            with_state({"a": "unknown", **WELL}),
            "unknown",
            "provider",
            f"a is not verified yet, {OTHERS}",
        ),
        (
            a_chain(halted_seconds=40.2, served_head=21_000_000),
            "troubled",
            "chain",
            "Ethereum has stood still at block 21,000,000 for 40 s: the chain, not the providers",
        ),
        (
            a_chain(is_split=True),
            "troubled",
            "chain",
            "The providers of Ethereum do not agree on one chain: it forks, or several err",
        ),
        (
            with_state({"a": "cooling", "b": "cooling"}, outage_seconds=12.0),
            "down",
            "provider",
            "Both providers of Ethereum are rate-limited for 12 s",
        ),
        (
            with_state({"a": "cooling", "b": "ejected"}, outage_seconds=130.0),
            "down",
            "provider",
            "Nobody can serve Ethereum for 2 min: a is rate-limited; b fails",
        ),
        (
            with_state({"a": "unknown", "b": "unknown"}, outage_seconds=3.0),
            "unknown",
            "",
            "Ethereum: the providers are being checked",
        ),
        (
            a_chain(an_upstream("a", reason="but for heavy: 3 timeouts"), an_upstream("b")),
            "troubled",
            "provider",
            "a is left out for heavy reads, others serve them",
        ),
    ],
)
def test_one_chain(chain, level, whose, sentence) -> None:
    plight = told(chain)
    assert (plight.level, plight.whose, plight.sentence) == (level, whose, sentence)


def test_a_fault_domain_is_named() -> None:
    place = {"is_suspect": True, "cloud": "aws", "region": "us-east-1"}
    chain = a_chain(
        *(an_upstream(name, "ejected", **place) for name in "ab"), an_upstream("c"), usable=1
    )
    words = "aws/us-east-1 is in trouble with two providers, wallets are served by one other"
    assert told(chain).sentence == words


def test_a_line_that_is_down_is_told_from_providers_that_are() -> None:
    chain = with_state({"a": "ejected", "b": "ejected", "c": "unknown"}, outage_seconds=40.0)
    gone = Traffic(heard=frozenset({"unreachable"}))
    plight = told(chain, LastMinute(traffic=dict.fromkeys("abc", gone)))
    assert plight.whose == "here"
    assert plight.sentence == (
        "None of the three providers of Ethereum can be reached for 40 s: they are different "
        "companies, so it is probably the network here"
    )
    heard = LastMinute(
        traffic={
            **dict.fromkeys("ab", gone),
            "c": Traffic(heard=frozenset({"unreachable", "server_error"})),
        }
    )
    assert told(chain, heard).whose == "provider"
    assert told(chain, QUIET).whose == "provider"


@pytest.mark.parametrize(
    ("names", "whom"),
    [
        ("a", "the only provider"),
        ("ab", "both providers"),
        ("abc", "all three providers"),
    ],
)
def test_a_chain_that_an_operator_has_drained_is_nobody_elses_doing(names, whom) -> None:
    chain = with_state(dict.fromkeys(names, "drained"), outage_seconds=6.0)
    gone = LastMinute(traffic=dict.fromkeys(names, Traffic(heard=frozenset({"unreachable"}))))
    for recent in (QUIET, gone):
        plight = told(chain, recent)
        assert (plight.level, plight.whose) == ("down", "here")
        assert plight.steady == f"An operator has drained {whom} of Ethereum"
        assert plight.sentence == f"{plight.steady}: not served for 6 s"


def test_of_those_that_serve_nothing_the_drained_are_told_apart() -> None:
    chain = with_state({"a": "drained", "b": "ejected"}, outage_seconds=6.0)
    words = "Nobody can serve Ethereum: a is drained by an operator; b fails"
    assert (told(chain).steady, told(chain).whose) == (words, "provider")
    sender = an_upstream("s", role="sends")
    drained = a_chain(an_upstream("a", "drained"), sender, outage_seconds=6.0)
    assert told(drained).steady == "An operator has drained the only provider of Ethereum"


def test_one_company_that_is_gone_is_no_line_that_is() -> None:
    downs = [an_upstream(name, "ejected", provider="one") for name in "ab"]
    gone = LastMinute(traffic=dict.fromkeys("ab", Traffic(heard=frozenset({"unreachable"}))))
    assert told(a_chain(*downs, outage_seconds=9.0), gone).whose == "provider"


def test_requests_that_fail_while_all_seem_well() -> None:
    one, two = (told(a_chain(), LastMinute(unserved=count)) for count in (1, 2))
    assert one.sentence == "Ethereum: 1 request of the last minute could not be served"
    assert two.sentence == "Ethereum: 2 requests of the last minute could not be served"
    assert one.steady == two.steady


def test_what_is_steady_names_no_time() -> None:
    for seconds in (40.0, 41.0):
        assert told(a_chain(halted_seconds=seconds)).steady.endswith(
            "0,000: the chain, not the providers"
        )
    down = with_state({"a": "ejected", "b": "cooling"}, outage_seconds=40.0)
    assert told(down).steady == "Nobody can serve Ethereum: a fails; b is rate-limited"


def refused(why: str = "another process has their journal open", **fields: object) -> Refusal:
    return Refusal(**{"what": Refused.SENDS, "why": why, "since_seconds": 180.0, **fields})


def test_refused_transactions_are_said_before_all_that_is_well() -> None:
    plight = told(a_chain(refusals=(refused(),)))
    assert (plight.level, plight.whose) == ("troubled", "here")
    assert plight.sentence == (
        "Transactions of Ethereum are refused for 3 min: another process has their journal open; "
        "all else is well"
    )
    assert "3 min" not in plight.steady
    assert summary([("Ethereum", plight)]).sentence == plight.sentence


def test_refused_transactions_beside_other_trouble() -> None:
    words = "ransactions of Ethereum are refused for 3 min: it is full"
    some = with_state({"a": "cooling", **WELL}, refusals=(refused("it is full"),))
    assert told(some).sentence == f"T{words}; a is rate-limited, {OTHERS}"
    down = with_state({"a": "ejected"}, outage_seconds=1.0, refusals=(refused("it is full"),))
    assert told(down).level == "down"
    assert told(down).sentence == f"Nobody can serve Ethereum for 1 s: a fails; t{words}"


def test_what_the_whole_process_refuses() -> None:
    away = refused("as many connections are open as may be", what=Refused.CLIENTS)
    well = summary([("Ethereum", told(a_chain())), ("Base", told(a_chain(), title="Base"))])
    plight = with_refusals(well, [away], "")
    assert (plight.level, plight.whose) == ("troubled", "here")
    assert plight.steady == (
        "Clients are turned away: as many connections are open as may be; all else is well"
    )
    assert with_refusals(well, [], "") == well


@pytest.mark.parametrize(
    ("states", "places", "left"),
    [
        ({"a": "drained", "b": "drained", "c": "drained", "d": "up"}, {}, "d"),
        ({"a": "drained", "b": "drained", "c": "up", "d": "up"}, {"provider": "one"}, "c and d"),
        ({"a": "drained", "b": "up", "c": "up"}, {"cloud": "aws", "region": "r"}, "b and c"),
    ],
    ids=["one", "one company", "one place"],
)
def test_drained_ones_that_leave_no_spare(states, places, left) -> None:
    chain = a_chain(
        *(an_upstream(name, state, since_seconds=700.0, **places) for name, state in states.items())
    )
    plight = told(chain)
    assert (plight.level, plight.whose) == ("troubled", "here")
    assert plight.sentence.startswith(f"Ethereum is served by {left} alone, without a spare; a"), (
        plight.sentence
    )
    assert "by an operator" in plight.sentence
    assert "12 min" in plight.sentence
    assert "12 min" not in plight.steady


def test_drained_ones_with_spares_left_are_named() -> None:
    plight = told(with_state({"a": "drained", "b": "drained", "c": "up", "d": "up"}))
    assert plight.level == "well"
    assert plight.sentence == (
        "All well, served by two providers; a and b are drained by an operator, the first for 3 s"
    )
    cordoned = told(with_state({"a": "cordoned", **WELL}))
    assert cordoned.sentence.endswith("; a is cordoned by an operator for 3 s")
    spare = told(with_state({"a": "drained", "b": "cordoned", "c": "up"}))
    assert spare.level == "well", "a cordoned one is asked where the last one fails"
    failing = told(with_state({"a": "drained", "b": "ejected", "c": "up", "d": "up"}))
    assert failing.sentence == (
        "b fails, wallets are served by two others; a is drained by an operator for 3 s"
    )


def test_drained_ones_are_in_the_summary_of_all_that_is_well() -> None:
    some = told(with_state({"a": "drained", "b": "up", "c": "up"}))
    assert summary([("Ethereum", some)]).sentence == "All well; a is drained by an operator for 3 s"
    both = summary([("Ethereum", told(a_chain())), ("Base", some)])
    assert both.sentence == "All well; on Base: a is drained by an operator for 3 s"


@pytest.mark.parametrize(
    ("names", "whom"),
    [("a", "The provider of Ethereum is"), ("ab", "Both providers of Ethereum are"),
     ("abc", "All three providers of Ethereum are")],
)  # fmt: skip
def test_providers_of_another_chain_than_is_configured(names, whom) -> None:
    words = "it is on another chain (chain id 5, configured 1)"
    upstreams = [an_upstream(name, "quarantined", reason=words) for name in names]
    plight = told(a_chain(*upstreams, outage_seconds=6.0))
    assert (plight.level, plight.whose) == ("down", "here")
    assert plight.sentence == f"{whom} of another chain than is set here for 6 s"


def test_words_of_providers_are_in_no_sentence() -> None:
    for state in ("cooling", "ejected", "forked", "quarantined", "lagging", "unknown"):
        chain = a_chain(an_upstream("a", state, reason="<b>PROVIDER SAYS</b>"), an_upstream("b"))
        assert "PROVIDER" not in told(chain).sentence
        assert "PROVIDER" not in told(a_chain(chain.upstreams[0], outage_seconds=1.0)).sentence


def test_all_chains_in_one() -> None:
    well = told(a_chain())
    bad = told(with_state({"a": "cooling", **WELL}), title="Base")
    still = told(a_chain(halted_seconds=40.0))
    down = told(with_state({"a": "ejected"}, outage_seconds=1.0), title="Base")
    assert summary([("Ethereum", well), ("Base", well)]).sentence == "All well"
    assert summary([("Ethereum", bad)]).sentence == f"a is rate-limited, {OTHERS}"
    assert summary([("Ethereum", well), ("Base", bad)]).sentence == (
        f"Base: a is rate-limited, {OTHERS}"
    )
    both = summary([("Ethereum", still), ("Base", down)])
    assert (both.level, both.whose) == ("down", "provider")
    assert both.sentence == "Nobody can serve Base for 1 s: a fails; one more chain is in trouble"
    assert summary([]).level == "unknown"
    assert told(a_chain(usable=0)).level == "down"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_times_as_people_say_them(seconds, words) -> None:
    assert span(seconds) == words
