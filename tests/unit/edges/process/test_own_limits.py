"""What this machine itself lacks is nobody else's fault."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any

import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.config.model import Server
from rpcproxy.edges.http import names, upstream_http
from rpcproxy.edges.process import own_limits
from rpcproxy.edges.process.own_limits import OwnLimits, own_words
from rpcproxy.front.wire.shared import FrontSettings
from rpcproxy.messages import Failure, FailureKind, MethodClass, Reply, Verdict
from rpcproxy.words import Observation
from tests.kits.evm_rules import classifier
from tests.kits.fleet import Fleet, four
from tests.kits.waiting import until
from tests.sockets.scripted import BODY, Peer, Scripted, answering, ask, on_both_loops, reply

OURS = [
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOSPC),
]


@pytest.mark.parametrize("number", OURS)
def test_what_is_ours_is_told_in_words(number: int) -> None:
    assert own_words(OSError(number, "no matter"))


def test_a_thread_that_cannot_be_started_is_ours() -> None:
    assert own_words(RuntimeError("can't start new thread"))
    assert own_words(MemoryError())


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        OSError(errno.EHOSTUNREACH, "no route"),
        TimeoutError(errno.ETIMEDOUT, "late"),
        socket.gaierror(socket.EAI_NONAME, "no name"),
        RuntimeError("another"),
        None,
    ],
)
def test_what_is_not_ours(error: BaseException | None) -> None:
    assert own_words(error) == ""


class Lacking:
    """Sockets that this machine has no file for; ``left`` is how many more fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, left: float) -> None:
        self.left = left
        self.tried = 0
        self._number = number
        self._open = names.open_socket
        monkeypatch.setattr(names, "open_socket", self)

    def __call__(self, family: int) -> socket.socket:
        self.tried += 1
        if self.left > 0:
            self.left -= 1
            raise OSError(self._number, "no matter")
        return self._open(family)


@pytest.mark.parametrize("number", OURS)
@on_both_loops
async def test_a_request_waits_a_moment_for_a_file(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream()
        lacking = Lacking(monkeypatch, number, left=2)
        outcome = await ask(upstream)
        assert isinstance(outcome, Reply)
        assert outcome.body == BODY
        assert lacking.tried == 3


@on_both_loops
async def test_it_takes_a_connection_that_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream()
        await ask(upstream)
        Lacking(monkeypatch, errno.EMFILE, left=float("inf"))
        outcomes = await asyncio.gather(*(ask(upstream) for _ in range(20)))
        assert all(isinstance(outcome, Reply) for outcome in outcomes)


@on_both_loops
async def test_where_there_is_none_for_long_it_says_whose_fault_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rpcproxy.edges.http.opening.limits", OwnLimits())
    async with Scripted(answering(reply())) as server:
        upstream = server.upstream(own_patience_seconds=0.0)
        Lacking(monkeypatch, errno.EMFILE, left=float("inf"))
        with caplog.at_level(logging.ERROR, "rpcproxy.machine"):
            for _ in range(3):
                outcome = await ask(upstream)
                assert isinstance(outcome, Failure)
                assert outcome.kind is FailureKind.OWN
                assert "no files left" in outcome.detail
        assert [record.__dict__["event"] for record in caplog.records] == ["machine_exhausted"]


@on_both_loops
async def test_a_lookup_for_which_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    loop = asyncio.get_running_loop()
    found: list[Any] = []
    addresses = names.Addresses(loop, "name.invalid", 80, 60.0, lambda: None)
    monkeypatch.setattr(names.Addresses, "_run", no_thread)
    addresses.find(found.append)
    await until(lambda: bool(found))
    assert found == [[]]
    assert addresses.own_fault == own_limits.NO_THREAD


def test_nobody_is_judged_by_it() -> None:
    fleet = Fleet(four())
    failure = Failure(FailureKind.OWN, "this process has no files left (ulimit -n)")
    judgement = classifier().judge(failure, 1, describe("eth_call"), 0.0)
    assert judgement.verdict is Verdict.OWN_FAULT
    for _ in range(50):
        for name in "abcd":
            seen = Observation(name, MethodClass.LIGHT, judgement.verdict, 0.3, "eth_call")
            assert not fleet.standings.observe(seen, fleet.now)
    fleet.run(1.0)
    assert {fleet[name].state for name in "abcd"} == {"up"}
    assert not any(fleet[name].is_suspect for name in "abcd")


@pytest.mark.parametrize(
    ("room", "connections", "turned_away"),
    [(None, 20_000, 1000), (100_000, 20_000, 1000), (500, 400, 100), (12, 10, 2), (4, 4, 0)],
)
def test_connections_of_clients_are_fewer_than_files(
    room: int | None, connections: int, turned_away: int
) -> None:
    settings = FrontSettings.of_server(Server(), file_room=room)
    assert settings.limits.connections == connections
    assert settings.most_turned_away == turned_away


@on_both_loops
async def test_all_pools_together_have_no_more_connections_than_there_are_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_limits.room, "most", 5)
    async with Scripted(answering(reply())) as one, Scripted(answering(reply())) as other:
        pools = [one.upstream(), other.upstream()]
        for pool in [*pools, pools[0]]:  # the second takes what the first has idle, and back
            outcomes = await asyncio.gather(*(ask(pool) for _ in range(20)))
            assert all(isinstance(outcome, Reply) for outcome in outcomes)
            assert sum(each.taken for each in pools) <= 5
        both = [ask(pool) for pool in pools for _ in range(20)]
        assert all(isinstance(outcome, Reply) for outcome in await asyncio.gather(*both))


async def _hanging(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


@on_both_loops
async def test_a_pool_that_gets_no_connection_says_whose_fault_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_limits.room, "most", 2)
    monkeypatch.setattr(upstream_http, "limits", OwnLimits())
    async with Scripted(answering(reply())) as one, Scripted(_hanging) as busy:
        hanging, starved = busy.upstream(), one.upstream()
        held = [hanging.send(b"{}", lambda _outcome: None) for _ in range(2)]
        await until(lambda: hanging.open_connections == 2)
        for _ in range(2):
            outcome = await ask(starved)
            assert isinstance(outcome, Failure)
            assert outcome.kind is FailureKind.OWN
        for call in held:
            call.abandon()
        assert isinstance(await ask(starved), Reply)
