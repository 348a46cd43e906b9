"""The checker of the load tests: silent about an honest provider, not about any liar."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import msgspec
import pytest

from rpcproxy.drills.evm import simrpc
from rpcproxy.drills.evm.simchain import ACCOUNTS, BUSY_ACCOUNTS, TOKEN, SimChain
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.drills.providers.provider import Provider
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.lies import LIARS, late_news
from rpcproxy.messages import Request
from tests.loads.consistency import Checker
from tests.loads.wallet_load import ask_while

NOW = 1_800_000_000.0
START = 1000
ADDRESS = ACCOUNTS[0]
CALL = {"to": TOKEN, "data": simrpc.BALANCE_OF + ADDRESS[2:].rjust(64, "0")}
LOGS = {"address": TOKEN, "fromBlock": hex(START - 2), "toBlock": "latest"}
QUESTIONS: dict[str, list[Any]] = {
    "eth_blockNumber": [],
    "eth_getBlockByNumber": ["latest", False],
    "eth_getBalance": [ADDRESS, "latest"],
    "eth_call": [CALL, "latest"],
    "eth_getStorageAt": [TOKEN, "0x0", "latest"],
    "eth_getTransactionCount": [BUSY_ACCOUNTS[1], "latest"],
    "eth_getLogs": [LOGS],
}


class Talk:
    """A checker and the chain it checks, with answers from any view."""

    def __init__(self) -> None:
        self.chain = SimChain(7, start_number=START)
        for second in range(8):
            self.chain.mine(NOW + second)
        self.checker = Checker(self.chain, lambda: self.chain.head, lambda: NOW + 20)

    def view(self, lag: int = 0, **lies: Any) -> SimView:
        return SimView(self.chain, self.chain.head - lag, 7, **lies)

    def say(self, view: SimView, method: str, *params: Any, client: int = 1) -> dict[str, int]:
        """The violations that this one answer added."""
        before = self.checker.violations.copy()
        asking = self.checker.asking(client, method, list(params))
        request = Request(method, b"1", msgspec.json.encode(params))
        result = msgspec.json.decode(b"".join(simrpc.perform(view, request)))
        self.checker.answered(asking, {"id": 1, "result": result})
        return dict(self.checker.violations - before)


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.mark.parametrize("method", QUESTIONS)
def test_what_is_as_new_as_before_is_fine_and_what_is_older_is_not(talk: Talk, method: str) -> None:
    params = QUESTIONS[method]
    assert talk.say(talk.view(), "eth_blockNumber") == {}
    assert talk.say(talk.view(), method, *params) == {}
    kind = "head" if "lock" in method else "state"
    assert talk.say(talk.view(lag=1), method, *params) == {f"{kind} fell": 1}
    assert talk.say(talk.view(lag=1), method, *params, client=2) == {f"{kind} below told": 1}


@pytest.mark.parametrize("method", QUESTIONS)
def test_what_no_block_of_the_chain_says_is_invented(talk: Talk, method: str) -> None:
    ahead = talk.view(lag=-3, fork_at=talk.chain.head + 1)
    has_hash = method in ("eth_blockNumber", "eth_getBlockByNumber", "eth_getLogs")
    invented = {"invented" if has_hash else "invented state": 1}
    assert talk.say(ahead, method, *QUESTIONS[method]) == invented
    if method not in ("eth_blockNumber", "eth_getTransactionCount"):
        assert talk.say(talk.view(fork_at=START + 7), method, *QUESTIONS[method]) == invented
    assert talk.say(talk.view(), method, *QUESTIONS[method]) == {}


def test_state_read_once_is_a_bound_for_state(talk: Talk) -> None:
    assert talk.say(talk.view(), "eth_getBalance", ADDRESS, "latest") == {}
    assert talk.say(talk.view(lag=2), "eth_blockNumber") == {}
    count = ("eth_getTransactionCount", BUSY_ACCOUNTS[0], "latest")
    assert talk.say(talk.view(lag=2), *count) == {"state fell": 1}


def test_blocks_whose_parent_or_time_is_not_the_chains(talk: Talk) -> None:
    wrong = talk.view(seconds_ahead=3600)
    assert talk.say(wrong, "eth_getBlockByNumber", "latest", False) == {"future": 1}
    block = talk.view().block(START + 1, full=False) | {"parentHash": "0x" + "11" * 32}
    asking = talk.checker.asking(1, "eth_getBlockByNumber", [hex(START + 1), False])
    talk.checker.answered(asking, {"result": block})
    assert talk.checker.violations == {"future": 1, "invented": 1}


def test_what_is_excused_is_counted_apart(talk: Talk) -> None:
    forked = talk.view(fork_at=START)
    talk.checker.excused = frozenset({"invented state"})
    assert talk.say(forked, "eth_getBalance", ADDRESS, "latest") == {}
    assert talk.checker.excuses == {"invented state": 1}
    assert talk.say(forked, "eth_getBlockByNumber", "latest", False) == {"invented": 1}
    talk.checker.excused = frozenset()
    assert talk.say(forked, "eth_getBalance", ADDRESS, "latest") == {"invented state": 1}


def test_null_for_what_exists(talk: Talk) -> None:
    number = talk.chain.head
    block = talk.view().block(number, full=False)
    behind = talk.view(lag=1)
    lookups: dict[str, list[Any]] = {
        "eth_getBlockByNumber": [hex(number), False],
        "eth_getBlockByHash": [block["hash"], False],
        "eth_getTransactionReceipt": [block["transactions"][0]],
    }
    for method, params in lookups.items():
        assert talk.say(behind, method, *params) == {}  # nobody was told of it yet
    assert talk.say(talk.view(), "eth_blockNumber", client=2) == {}
    for method, params in lookups.items():
        assert talk.say(behind, method, *params) == {"vanished": 1}
    asking = talk.checker.asking(1, "eth_getBlockByNumber", ["latest", False])
    talk.checker.answered(asking, {"result": None})
    assert talk.checker.violations["vanished"] == 4


def test_a_receipt_raises_what_was_told(talk: Talk) -> None:
    hash = talk.view().block(talk.chain.head, full=False)["transactions"][0]
    assert talk.say(talk.view(), "eth_getTransactionReceipt", hash) == {}
    assert talk.checker.known_to(1).head == talk.chain.head
    assert talk.say(talk.view(lag=1), "eth_blockNumber") == {"head fell": 1}


def test_answers_about_something_else(talk: Talk) -> None:
    view = talk.view()
    hashes = view.block(START + 2, full=False)["transactions"]
    for method, params, result in (
        ("eth_getBlockByNumber", [hex(START + 1), False], view.block(START + 2, full=False)),
        ("eth_getBalance", [ADDRESS, hex(START + 1)], hex(view.balance(ADDRESS, START + 2))),
        ("eth_getTransactionReceipt", [hashes[0]], view.receipt(hashes[1])),
    ):
        asking = talk.checker.asking(1, method, params)
        talk.checker.answered(asking, {"result": result})
    assert talk.checker.violations == {"wrong block": 3}


def test_logs_with_holes_or_cut_short(talk: Talk) -> None:
    whole = [log for number in range(START, START + 4) for log in talk.view().logs(number)]
    query = {"fromBlock": hex(START), "toBlock": hex(START + 3)}
    for result in (whole, whole[:3] + whole[4:], whole[:-2]):
        talk.checker.answered(talk.checker.asking(1, "eth_getLogs", [query]), {"result": result})
    assert talk.checker.violations == {"gap": 2}


@pytest.mark.parametrize("reply", [{"error": {"code": -32603}}, None, OSError("gone"), []])
def test_errors(talk: Talk, reply: Any) -> None:
    talk.checker.answered(talk.checker.asking(3, "eth_blockNumber", []), reply)
    assert talk.checker.violations == {"error": 1}
    assert "1 × error" in talk.checker.summary()


def test_answers_of_another_shape_are_invented(talk: Talk) -> None:
    for method, params in QUESTIONS.items():
        talk.checker.answered(talk.checker.asking(1, method, params), {"result": {"x": 1}})
    assert talk.checker.violations == {"invented": len(QUESTIONS)}
    assert len(talk.checker.examples) == 3


# --- wallets at a provider of their own, without a proxy between


QUESTIONS_PER_BLOCK = 6  # to each provider
FEWEST_ANSWERS = 60
WALLETS: Any = {"rate_per_second": 60, "clients": 3}
CAUGHT = {
    "far_ahead": {"invented"},
    "ahead": {"invented"},
    "ahead_unlinked": {"invented"},
    "future_times": {"future"},
    "falling": {"head fell", "state fell"},
    "headless_null": {"vanished"},
    "headless_error": {"error"},
    "alternating": {"head fell", "state fell"},
    "null_results": {"vanished"},
    "state_frozen": {"state fell"},
    "state_frozen_lying": {"state fell"},
    "wrong_chain": {"invented", "invented state", "vanished"},
    "forked": {"invented", "invented state"},
    "rolled_back": {"head fell", "state fell"},
    "two_branches": {"invented"},
    "lagging": {"head fell", "state fell"},
    "frozen_head": {"head below told", "state below told"},
}


async def test_wallets_catch_every_liar_and_no_honest_provider() -> None:
    chain = SimChain(7, start_number=START)
    ports = itertools.count(1)
    faults: dict[str, Fault | None] = {"honest": None, "late": late_news(0.03), **LIARS}
    at_large = set(LIARS)
    questions = 0

    def on_question() -> None:
        """Blocks come in step with the questions, lest a busy machine sleep through a lie: who is
        five blocks late is caught by whoever asked less than five blocks ago.
        """
        nonlocal questions
        questions += 1
        if questions >= QUESTIONS_PER_BLOCK * (len(at_large) + 2):
            questions = 0
            chain.mine(time.time())

    async def meet(name: str, fault: Fault | None) -> Checker:
        provider = Provider(chain, f"liar {next(ports)}", latency_seconds=0.002)
        checker = Checker(chain, lambda: chain.head)
        provider.start()
        if name not in LIARS:
            provider.set_fault(fault)

        def is_new() -> bool:
            on_question()
            return checker.answers < 20

        def is_at_large() -> bool:
            """The honest are asked for as long as it takes to catch the others."""
            on_question()
            if checker.answers <= FEWEST_ANSWERS:
                return True
            if CAUGHT.get(name, set()) <= set(checker.violations):
                at_large.discard(name)
            return bool(at_large) if name not in LIARS else name in at_large

        try:
            await ask_while(is_new, provider.url, checker, **WALLETS)
            assert not checker.violations, checker.summary()
            provider.set_fault(fault)
            if fault is LIARS["frozen_head"]:  # it alone never contradicts itself
                checker.told = type(checker.told)(chain.head + 1, chain.head + 1)
            await ask_while(is_at_large, provider.url, checker, **WALLETS)
        finally:
            provider.stop()
        return checker

    checkers = await asyncio.gather(*(meet(*each) for each in faults.items()))
    assert all(checker.answers > FEWEST_ANSWERS for checker in checkers)
    honest, late, *liars = checkers
    assert not honest.violations, honest.summary()
    assert not late.violations, late.summary()
    for name, checker in zip(LIARS, liars, strict=True):
        assert CAUGHT[name] <= set(checker.violations), f"{name}: {checker.summary()}"
