"""Takeovers that go wrong leave whoever serves as it was; what a successor waits for; journals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rpcproxy.app import takeover
from rpcproxy.app.journal import SendSettings, Transactions, journal_path
from rpcproxy.app.leaving import release_journals
from rpcproxy.app.proxy import Proxy
from rpcproxy.chains import evm
from rpcproxy.config import model
from rpcproxy.edges.given_sockets import Channel
from rpcproxy.edges.journal import Journal
from rpcproxy.edges.metrics import ChainCounters
from rpcproxy.engine.ledger import Unwritten
from tests import front_kit
from tests.integration.anvil import free_port
from tests.integration.rpc_kit import CHAIN_ID, Upstream, described, each, good, on_uvloop, request
from tests.scripted import until
from tests.unit import engine_kit
from tests.unit.sends_kit import signed

NAME = "test"


def config_of(port: int, admin: int | None, *upstreams: Upstream) -> model.Config:
    listen = model.Address(host="127.0.0.1", port=port)
    place = None if admin is None else model.Address(host="127.0.0.1", port=admin)
    given = tuple(described(upstream, index) for index, upstream in enumerate(upstreams))
    chain = model.Chain(name=NAME, chain_id=CHAIN_ID, upstreams=given)
    return model.Config(server=model.Server(listen=listen, admin=place), chains=(chain,))


class Serving:
    """A proxy that can be taken over. ``taken`` counts."""

    def __init__(self, config: model.Config) -> None:
        self.proxy = Proxy(config)
        self.taken = 0
        self.offer = takeover.Offer(self.proxy, self._on_taken)

    def _on_taken(self) -> None:
        self.taken += 1

    async def ask(self) -> bytes:
        """On a connection of its own."""
        streams = await asyncio.open_connection(*self.proxy.address)
        client = front_kit.Client(*streams)
        try:
            return (await client.ask(request("eth_gasPrice"))).body
        finally:
            client.close()

    async def talk(self) -> Channel:
        place = takeover.place_of(self.proxy.config)
        assert place is not None
        return Channel(await asyncio.to_thread(place.connect), 5.0)


@contextlib.asynccontextmanager
async def serving(*upstreams: Upstream, admin: int | None = None) -> AsyncIterator[Serving]:
    old = Serving(config_of(free_port(), admin, *upstreams))
    await takeover.start(old.proxy, {})
    old.offer.start()
    try:
        await until(lambda: takeover.heads_of(old.proxy).get(NAME, -1) >= 0)
        yield old
    finally:
        await old.offer.close()
        await old.proxy.stop(drain_seconds=0)


async def said(channel: Channel, want: str) -> dict[str, Any]:
    await asyncio.to_thread(channel.send, {"want": want})
    words, descriptors = await asyncio.to_thread(channel.receive)
    for descriptor in descriptors:
        socket.socket(fileno=descriptor).close()
    return words


@on_uvloop
async def test_a_whole_takeover() -> None:
    async with Upstream(each(good)) as a, serving(a, admin=free_port()) as old:
        new = Proxy(old.proxy.config)
        assert await takeover.start(new, {}, takes_over=True) is True
        try:
            await until(lambda: old.taken == 1)
            assert new.address == old.proxy.address
            assert new.admin_address == old.proxy.admin_address
            assert b"result" in await old.ask()
            assert takeover.heads_of(new)[NAME] >= takeover.heads_of(old.proxy)[NAME]
            # The journal is still the old one's: the new one waits, and says nothing bad of it.
            ledger = new.chains[NAME].transactions.ledger
            assert ledger.journal is None
            assert ledger.trouble == ""
            await old.offer.close()
            await old.proxy.stop(is_followed=True)
            await until(lambda: ledger.journal is not None)
        finally:
            await new.stop(drain_seconds=0)


@on_uvloop
async def test_one_that_cannot_serve_what_is_served_gets_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(takeover, "READY_SECONDS", 0.3)
    caplog.set_level(logging.INFO, "rpcproxy")
    async with (
        Upstream(each(good)) as a,
        Upstream(each(good), chain_id=99) as wrong,
        serving(a) as old,
    ):
        listen = old.proxy.config.server.listen
        new = Proxy(config_of(listen.port, None, wrong))
        with pytest.raises(takeover.NotTaken, match=r"test cannot be served from here .*0.3 s"):
            await takeover.start(new, {}, takes_over=True)
        assert b"result" in await old.ask()
        await until(lambda: "another process began to take over" in caplog.text)
        assert old.taken == 0


@on_uvloop
async def test_one_that_leaves_in_between_changes_nothing() -> None:
    async with Upstream(each(good)) as a, serving(a, admin=free_port()) as old:
        for wants in (["sockets"], ["sockets", "ports"]):
            channel = await old.talk()
            for want in wants:
                words = await said(channel, want)
                assert words["heads"][NAME] >= 0
            if wants[-1] == "ports":
                assert old.proxy.listener is not None
                assert not old.proxy.listener.sockets(), "nobody is let in for the moment"
                waiting = asyncio.ensure_future(old.ask())
            channel.close()
            await until(lambda: not old.offer._is_talking)
        assert b"result" in await waiting, "it stood in the queue of the socket"
        assert b"result" in await old.ask()
        assert old.taken == 0
        # And the next one is listened to.
        channel = await old.talk()
        assert (await said(channel, "sockets"))["sockets"] == ["wallet", "admin"]
        channel.close()


@pytest.mark.parametrize("has_left", [True, False])
@on_uvloop
async def test_a_last_word_that_is_lost_leaves_somebody_serving(
    has_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = takeover._ask

    async def losing(channel: Channel, wanted: str) -> tuple[dict[str, Any], list[int]]:
        if wanted != "served":
            return await ask(channel, wanted)
        if has_left:
            old.offer.is_taken = True  # as one that heard it, and closed before its answer was out
        channel.close()
        raise BrokenPipeError

    monkeypatch.setattr(takeover, "_ask", losing)
    monkeypatch.setattr(takeover, "NOTICE_SECONDS", 0.3)
    async with Upstream(each(good)) as a, serving(a) as old:
        new = Proxy(old.proxy.config)
        if has_left:
            assert await takeover.start(new, {}, takes_over=True) is True
            assert new.listener is not None
        else:
            with pytest.raises(takeover.NotTaken):
                await takeover.start(new, {}, takes_over=True)
            assert new.listener is None
        assert b"result" in await old.ask()
        await new.stop(drain_seconds=0)


@on_uvloop
async def test_what_is_said_out_of_turn_is_refused_and_one_talk_is_enough() -> None:
    async with Upstream(each(good)) as a, serving(a) as old:
        channel = await old.talk()
        assert (await said(channel, "ports"))["refused"] == "sockets was expected"
        await until(lambda: not old.offer._is_talking)
        first, second = await old.talk(), await old.talk()
        await said(first, "sockets")
        with pytest.raises((OSError, takeover.Broken)):
            await said(second, "sockets")
        for each_one in (channel, first, second):
            each_one.close()


@on_uvloop
async def test_where_nobody_serves_it_starts_as_usual() -> None:
    async with Upstream(each(good)) as a:
        config = config_of(free_port(), None, a)
        place = takeover.place_of(config)
        assert place is not None
        assert takeover.remedy(config) == "choose another port"
        place.listen().close()  # left by one that was killed
        assert "--takeover" in takeover.remedy(config)
        new = Proxy(config)
        assert await takeover.start(new, {}, takes_over=True) is False
        assert new.address[1] == config.server.listen.port
        await new.stop(drain_seconds=0)
    nameless = config.model_copy(
        update={"server": model.Server(listen=model.Address(host="::1", port=0))}
    )
    assert takeover.place_of(nameless) is None


@on_uvloop
async def test_ports_that_moved_are_opened_anew() -> None:
    async with Upstream(each(good)) as a, serving(a, admin=free_port()) as old:
        moved = config_of(old.proxy.config.server.listen.port, free_port(), a)
        new = Proxy(moved)
        await takeover.start(new, {}, takes_over=True)
        try:
            assert moved.server.admin is not None
            assert new.admin_address == ("127.0.0.1", moved.server.admin.port)
            assert new.address == old.proxy.address
        finally:
            await new.stop(drain_seconds=0)


@on_uvloop
async def test_a_socket_on_another_address_is_not_what_the_configuration_says() -> None:
    with socket.create_server(("0.0.0.0", 0)) as open_to_all:
        port = open_to_all.getsockname()[1]
        for host, is_kept in (("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)):
            address = model.Address(host=host, port=port)
            config = model.Config(server=model.Server(listen=address, admin=None), chains=())
            given = {"wallet": [open_to_all.dup()], "admin": [open_to_all.dup()]}
            kept = await takeover._still_wanted(given, config)
            assert set(kept) == ({"wallet"} if is_kept else set()), host
            for each_one in given["wallet"]:
                assert (each_one.fileno() == -1) is not is_kept
                each_one.close()


# ---- the journal


@on_uvloop
async def test_the_journal_goes_once_no_send_can_come() -> None:
    """A connection that is idle may bring a send; one whose answer is on its way may not."""
    async with Upstream(each(good)) as a, serving(a) as old:
        journal = old.proxy.chains[NAME].transactions.ledger.journal
        assert journal is not None
        listener = old.proxy.listener
        assert listener is not None
        idle = front_kit.Client(*await asyncio.open_connection(*old.proxy.address))
        assert b"result" in (await idle.ask(request("eth_gasPrice"))).body
        leaving = asyncio.ensure_future(
            release_journals(listener, list(old.proxy.chains.values()), 30.0)
        )
        await asyncio.wait([leaving], timeout=0.2)
        assert not leaving.done()
        assert not journal._is_closing
        idle.close()
        await leaving
        assert journal._is_closing
        # What is left waits no longer than that.
        again = front_kit.Client(*await asyncio.open_connection(*old.proxy.address))
        await again.ask(request("eth_gasPrice"))
        await release_journals(listener, list(old.proxy.chains.values()), 0.1)
        again.close()


@on_uvloop
async def test_sends_wait_for_a_journal_that_is_about_to_be_left() -> None:
    chain = model.Chain(name=NAME, chain_id=engine_kit.CHAIN_ID, upstreams=())
    settings = SendSettings.of(chain, model.Server())
    path = journal_path(NAME, model.Server().journal)
    old = await Journal.open(path, f"evm:{engine_kit.CHAIN_ID}")
    transactions = Transactions(chain, settings, ChainCounters())
    transactions.take(settings)
    transactions.expect_predecessor(30.0)
    began = asyncio.get_running_loop().time()
    await transactions.open()
    assert asyncio.get_running_loop().time() - began < 1.0, "nobody is kept waiting for it"
    tx = evm.decode(signed().raw, engine_kit.CHAIN_ID)
    sending = asyncio.ensure_future(transactions.ledger.begin(tx, is_private=False))
    await asyncio.wait([sending], timeout=0.2)
    assert not sending.done()
    await old.close()
    entry = await sending
    assert entry.hash == tx.hash
    assert transactions.ledger.journal is not None
    assert await transactions.ledger.journal.find(tx.hash) is not None
    await transactions.close()


@on_uvloop
async def test_one_that_is_not_left_in_time_is_told_of() -> None:
    chain = model.Chain(name=NAME, chain_id=engine_kit.CHAIN_ID, upstreams=())
    settings = SendSettings.of(chain, model.Server())
    old = await Journal.open(settings.path or "", f"evm:{engine_kit.CHAIN_ID}")
    transactions = Transactions(chain, settings, ChainCounters())
    transactions.take(settings)
    transactions.expect_predecessor(0.05)
    await transactions.open()
    await until(lambda: "is in use by another rpcproxy" in transactions.ledger.trouble)
    with pytest.raises(Unwritten, match="in use by another rpcproxy"):
        await transactions.ledger.begin(
            evm.decode(signed().raw, engine_kit.CHAIN_ID), is_private=False
        )
    await transactions.close()
    await old.close()
