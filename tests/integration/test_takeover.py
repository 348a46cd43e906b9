"""Takeovers that go wrong leave whoever serves as it was; what a successor waits for; journals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rpcproxy.app.leaving import release_journals
from rpcproxy.app.proxy import Proxy
from rpcproxy.app.storage.state_place import StatePlace
from rpcproxy.app.storage.transaction_journal import Resumed, SendSettings, Transactions
from rpcproxy.app.takeover import offer, takeover
from rpcproxy.app.takeover.handover import ServedHeads, heads_of, plans_of
from rpcproxy.app.takeover.takeover import TakeoverTimes
from rpcproxy.chains.evm.sends.signed import decode
from rpcproxy.chains.registry import EVM
from rpcproxy.config import model
from rpcproxy.edges.disk.journal import DiskJournal
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.edges.process.given_sockets import Channel
from rpcproxy.engine.sends.denials import Unwritten
from rpcproxy.rules.standing.orders import standing_order
from tests.integration.anvil_node import free_port
from tests.integration.rpc_kit import CHAIN_ID, Upstream, described, each, good, on_uvloop, request
from tests.kits import engine_kit
from tests.kits.sends_kit import signed
from tests.kits.waiting import limited, until
from tests.sockets import front_kit

NAME = "test"


def config_of(port: int, admin: int | None, *upstreams: Upstream) -> model.Config:
    listen = model.Address(host="127.0.0.1", port=port)
    place = None if admin is None else model.Address(host="127.0.0.1", port=admin)
    given = tuple(described(upstream, index) for index, upstream in enumerate(upstreams))
    chain = model.Chain(name=NAME, chain_id=CHAIN_ID, upstreams=given)
    return model.Config(server=model.Server(listen=listen, admin=place), chains=(chain,))


class Serving:
    """A proxy that can be taken over. ``taken`` counts."""

    def __init__(self, config: model.Config, times: TakeoverTimes) -> None:
        self.proxy = Proxy(config)
        self.taken = 0
        self.offer = offer.Offer(self.proxy, self._on_taken, times)

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
        (place,) = takeover.places_of(self.proxy.config)
        return Channel(await asyncio.to_thread(place.connect), 5.0)


@contextlib.asynccontextmanager
async def serving(
    *upstreams: Upstream, admin: int | None = None, times: TakeoverTimes = takeover.USUAL_TIMES
) -> AsyncIterator[Serving]:
    old = Serving(config_of(free_port(), admin, *upstreams), times)
    await takeover.start(old.proxy, {})
    old.offer.start()
    try:
        await until(lambda: heads_of(old.proxy).get(NAME, -1) >= 0)
        yield old
    finally:
        await old.offer.close()
        await old.proxy.stop(drain_seconds=0)


async def said(channel: Channel, want: str, config: model.Config) -> dict[str, Any]:
    await asyncio.to_thread(channel.send, {"want": want, "chains": plans_of(config)})
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
            assert heads_of(new)[NAME] >= heads_of(old.proxy)[NAME]
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
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rpcproxy")
    async with (
        Upstream(each(good)) as a,
        Upstream(each(good), chain_id=99) as wrong,
        serving(a) as old,
    ):
        listen = old.proxy.config.server.listen
        new = Proxy(config_of(listen.port, None, wrong))
        times = TakeoverTimes(ready_seconds=0.3)
        with pytest.raises(takeover.NotTaken, match=r"test cannot be served from here .*0.3 s"):
            await takeover.start(new, {}, takes_over=True, times=times)
        assert b"result" in await old.ask()
        await until(lambda: "another process began to take over" in caplog.text)
        assert old.taken == 0


@on_uvloop
async def test_one_that_leaves_in_between_changes_nothing() -> None:
    async with Upstream(each(good)) as a, serving(a, admin=free_port()) as old:
        for wants in (["sockets"], ["sockets", "ports"]):
            channel = await old.talk()
            for want in wants:
                words = await said(channel, want, old.proxy.config)
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
        assert (await said(channel, "sockets", old.proxy.config))["sockets"] == ["wallet", "admin"]
        channel.close()


@pytest.mark.parametrize("step", ["sockets", "get ready", "ports"])
@on_uvloop
async def test_one_that_ends_meanwhile_is_followed_all_the_same(
    step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where it is told to stop, or killed, while its successor is not ready yet."""
    ask, reach = takeover._ask, takeover._reach

    async def end() -> None:
        await old.offer.close()
        await old.proxy.stop(drain_seconds=0)

    async def ending(
        channel: Channel, wanted: str, **more: object
    ) -> tuple[dict[str, Any], list[int]]:
        if wanted == step:
            await end()
        return await ask(channel, wanted, **more)

    async def reaching(proxy: Proxy, heads: ServedHeads, seconds: float, *channel: Channel) -> bool:
        if step == "get ready" and channel:
            await end()
            heads = {NAME: 10**9}  # what the slow ones of ours have not yet
        return await reach(proxy, heads, seconds, *channel)

    monkeypatch.setattr(takeover, "_ask", ending)
    monkeypatch.setattr(takeover, "_reach", reaching)
    async with Upstream(each(good)) as a, serving(a) as old:
        new = Proxy(old.proxy.config)
        is_taken = await takeover.start(new, {}, takes_over=True)
        assert is_taken is (step != "sockets"), "nothing was had from it, and the port was free"
        try:
            assert b"result" in await old.ask()
            assert ("has ended meanwhile" in caplog.text) is is_taken
        finally:
            await new.stop(drain_seconds=0)


@on_uvloop
async def test_one_that_is_late_once_the_ports_are_its_own_loses_them() -> None:
    times = TakeoverTimes(served_seconds=0.2)
    async with Upstream(each(good)) as a, serving(a, times=times) as old:
        channel = await old.talk()
        await said(channel, "sockets", old.proxy.config)
        await said(channel, "ports", old.proxy.config)
        async with limited():
            assert b"result" in await old.ask()
        assert old.taken == 0
        channel.close()


@on_uvloop
async def test_what_would_be_lost_is_refused_in_words() -> None:
    async with Upstream(each(good)) as a, serving(a) as old:
        config = old.proxy.config
        chain = config.chains[0]
        elsewhere = chain.model_copy(update={"journal": model.Journal(path="elsewhere")})
        ledger = old.proxy.chains[NAME].transactions.ledger
        tx = decode(signed().raw, engine_kit.CHAIN_ID)
        await ledger.begin(tx, is_private=False)
        for other, words in (
            (chain.model_copy(update={"name": "other"}), f"chain test .id {CHAIN_ID}. is served"),
            (chain.model_copy(update={"chain_id": 5}), f"chain test .id {CHAIN_ID}. is served"),
            (elsewhere, "1 pending transactions of test .*elsewhere.*stop the old process"),
            (chain.model_copy(update={"journal": model.Journal(is_on=False)}), "it has no journal"),
        ):
            new = Proxy(config.model_copy(update={"chains": (other,)}))
            with pytest.raises(takeover.NotTaken, match=words):
                await takeover.start(new, {}, takes_over=True)
            await until(lambda: not old.offer._is_talking)
        assert b"result" in await old.ask()
        assert old.taken == 0


@on_uvloop
async def test_orders_of_operators_go_with_the_ports() -> None:
    async with Upstream(each(good)) as a, Upstream(each(good)) as b, serving(a, b) as old:
        first, second = (standing.name for standing in old.proxy.chains[NAME].standings)
        for upstream, order in ((first, "drain"), (second, "cordon")):
            old.proxy.control.obey(NAME, upstream, order, is_forced=True, by="alice")
        new = Proxy(old.proxy.config)
        await takeover.start(new, {}, takes_over=True)
        try:
            standings = new.chains[NAME].standings
            for each_one in (first, second):
                told = standing_order(standings[each_one])
                assert told is not None
                assert told == standing_order(old.proxy.chains[NAME].standings[each_one])
                assert told.by == "alice"
            assert standings[first].is_drained
            assert standings[second].is_cordoned
            assert not standings[second].is_drained
        finally:
            await new.stop(drain_seconds=0)


@on_uvloop
async def test_ports_that_are_about_to_be_left_are_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As those of one that was told to stop, and is not to be asked any more."""
    async with Upstream(each(good)) as a:
        with socket.create_server(("127.0.0.1", 0)) as leaving:
            new = Proxy(config_of(leaving.getsockname()[1], None, a))
            starting = asyncio.ensure_future(takeover.start(new, {}, takes_over=True))
            await until(lambda: "is in use: waiting for whoever leaves it" in caplog.text)
            assert not starting.done()
        assert await starting is False
        assert new.listener is not None
        await new.stop(drain_seconds=0)


@on_uvloop
async def test_a_name_and_its_address_are_one_place() -> None:
    async with Upstream(each(good)) as a, serving(a) as old:
        server = old.proxy.config.server
        by_name = server.listen.model_copy(update={"host": "localhost"})
        update = {"server": server.model_copy(update={"listen": by_name})}
        new = Proxy(old.proxy.config.model_copy(update=update))
        assert "--takeover" in takeover.remedy(new.config)
        assert await takeover.start(new, {}, takes_over=True) is True
        assert new.address == old.proxy.address
        await new.stop(drain_seconds=0)


@pytest.mark.parametrize("has_left", [True, False])
@on_uvloop
async def test_a_last_word_that_is_lost_leaves_somebody_serving(
    has_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = takeover._ask

    async def losing(
        channel: Channel, wanted: str, **more: object
    ) -> tuple[dict[str, Any], list[int]]:
        if wanted != "served":
            return await ask(channel, wanted, **more)
        if has_left:
            old.offer.is_taken = True  # as one that heard it, and closed before its answer was out
        channel.close()
        raise BrokenPipeError

    monkeypatch.setattr(takeover, "_ask", losing)
    times = TakeoverTimes(notice_seconds=0.3)
    async with Upstream(each(good)) as a, serving(a) as old:
        new = Proxy(old.proxy.config)
        if has_left:
            assert await takeover.start(new, {}, takes_over=True, times=times) is True
            assert new.listener is not None
        else:
            with pytest.raises(takeover.NotTaken):
                await takeover.start(new, {}, takes_over=True, times=times)
            assert new.listener is None
        assert b"result" in await old.ask()
        await new.stop(drain_seconds=0)


@on_uvloop
async def test_what_is_said_out_of_turn_is_refused_and_one_talk_is_enough() -> None:
    async with Upstream(each(good)) as a, serving(a) as old:
        channel = await old.talk()
        config = old.proxy.config
        assert (await said(channel, "ports", config))["refused"] == "sockets was expected"
        await until(lambda: not old.offer._is_talking)
        first, second = await old.talk(), await old.talk()
        await said(first, "sockets", config)
        with pytest.raises(
            takeover.TakeoverRefused, match="another process is taking over at this moment"
        ):
            await takeover._ask(second, "sockets")
        for each_one in (channel, first, second):
            each_one.close()


@on_uvloop
async def test_where_nobody_serves_it_starts_as_usual() -> None:
    async with Upstream(each(good)) as a:
        config = config_of(free_port(), None, a)
        (place,) = takeover.places_of(config)
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
    assert takeover.places_of(nameless) == []


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
            release_journals(listener, list(old.proxy.chains.values()), 30.0, time.monotonic)
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
        await release_journals(listener, list(old.proxy.chains.values()), 0.1, time.monotonic)
        again.close()


@on_uvloop
async def test_sends_wait_for_a_journal_that_is_about_to_be_left() -> None:
    chain = model.Chain(name=NAME, chain_id=engine_kit.CHAIN_ID, upstreams=())
    settings = SendSettings.of(chain, model.Server(), StatePlace.of(model.Config(chains=(chain,))))
    old = await DiskJournal.open(settings.path or "", f"evm:{engine_kit.CHAIN_ID}")
    transactions = Transactions(chain, settings, ChainCounters(), EVM.sends)
    transactions.take(settings)
    transactions.expect_predecessor(600.0)
    async with limited():  # nobody is kept waiting for it
        await transactions.open()
    assert transactions.ledger.journal is None
    tx = decode(signed().raw, engine_kit.CHAIN_ID)
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
    settings = SendSettings.of(chain, model.Server(), StatePlace.of(model.Config(chains=(chain,))))
    old = await DiskJournal.open(settings.path or "", f"evm:{engine_kit.CHAIN_ID}")
    transactions = Transactions(chain, settings, ChainCounters(), EVM.sends)
    transactions.take(settings)
    transactions.expect_predecessor(0.05)
    await transactions.open()
    await until(lambda: "is in use by another rpcproxy" in transactions.ledger.trouble)
    with pytest.raises(Unwritten, match="in use by another rpcproxy"):
        await transactions.ledger.begin(decode(signed().raw, engine_kit.CHAIN_ID), is_private=False)
    await transactions.close()
    await old.close()


@on_uvloop
async def test_the_journal_of_an_older_version_is_taken_over_when_it_leaves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rpcproxy")
    told = offer.Offer._told

    def told_then(self: offer.Offer) -> dict[str, object]:
        return {key: value for key, value in told(self).items() if key != "journals"}

    monkeypatch.setattr(offer.Offer, "_told", told_then)
    async with Upstream(each(good)) as a:
        config = config_of(free_port(), None, a)
        base = StatePlace.of(config).base
        assert base is not None
        shared = model.Journal(path=str(base / "journal"))
        server = config.server.model_copy(update={"journal": shared})
        old = Serving(config.model_copy(update={"server": server}), takeover.USUAL_TIMES)
        await takeover.start(old.proxy, {})
        old.offer.start()
        await until(lambda: heads_of(old.proxy).get(NAME, -1) >= 0)
        tx = decode(signed().raw, engine_kit.CHAIN_ID)
        await old.proxy.chains[NAME].transactions.ledger.begin(tx, is_private=False)
        new = Proxy(config)
        resumed: list[Resumed] = []
        new.state.resumed_listeners.append(resumed.append)
        assert await takeover.start(new, {}, takes_over=True) is True
        try:
            await until(lambda: old.taken == 1)
            ledger = new.chains[NAME].transactions.ledger
            assert ledger.journal is None
            await old.offer.close()
            await old.proxy.stop(is_followed=True)
            await until(lambda: ledger.journal is not None)
            assert ledger.pool.get(tx.hash) is not None
            assert [each.words for each in resumed] == ["1 pending transaction of test resumed"]
            assert not (base / "journal" / f"{NAME}.sqlite").exists()
            assert "was taken over from" in caplog.text
        finally:
            await new.stop(drain_seconds=0)
