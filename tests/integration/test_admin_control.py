"""The admin port of a running proxy: orders, explanations, failures, reloads, the log level."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec

from rpcproxy.app.control import Control
from rpcproxy.config import model
from rpcproxy.engine.attempts.request_log import OpenRequest
from rpcproxy.messages import Request
from rpcproxy.reasons import Reason
from tests.integration.rpc_kit import ASK, Upstream, Wallet, a_proxy, each, good, on_uvloop
from tests.kits.waiting import until

LOOPBACK = model.Address(host="127.0.0.1", port=0)


class Admin:
    def __init__(self, wallet: Wallet, session: aiohttp.ClientSession) -> None:
        self.wallet = wallet
        assert wallet.proxy.admin_address is not None
        self._url = "http://{}:{}".format(*wallet.proxy.admin_address)
        self._session = session

    async def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        async with self._session.request(
            method, self._url + path, data=data, headers=headers
        ) as reply:
            return reply.status, await reply.json()

    async def order(self, what: str) -> tuple[int, dict[str, Any]]:
        return await self.ask("POST", f"/upstreams/test/{what}")


@contextlib.asynccontextmanager
async def an_admin(
    *upstreams: Upstream, server: dict[str, Any] | None = None, **chain: Any
) -> AsyncIterator[Admin]:
    # The kit's own proxies have no admin port.
    given = {"admin": LOOPBACK, **(server or {})}
    async with (
        a_proxy(*upstreams, server=given, block_time_seconds=0.5, **chain) as wallet,
        aiohttp.ClientSession() as session,
    ):
        yield Admin(wallet, session)


@on_uvloop
async def test_orders() -> None:
    async with (
        Upstream(each(good)) as a,
        Upstream(each(good)) as b,
        an_admin(a, b) as admin,
    ):
        wallet = admin.wallet
        status, told = await admin.order("up0/drain")
        assert (status, told["state"]) == (200, "drained")
        assert told["result"] == "an operator drained it: no new requests go there"
        await wallet.call("eth_gasPrice")
        assert (len(a.calls), len(b.calls)) == (0, 1)
        probes = a.probes
        await until(lambda: a.probes > probes)
        _, page = await admin.ask("GET", "/status")
        entry = page["chains"][0]["upstreams"][0]
        assert (entry["state"], entry["state_reason"]) == ("drained", "an operator drained it")
        assert page["chains"][0]["state"] == "ok", "what is drained is nobody's trouble"
        assert page["changes"][0]["kind"] == "drained"
        # The last one that is usable.
        status, told = await admin.order("up1/drain")
        assert status == 409
        assert "up1 is the last upstream that can be asked for light, heavy, send" in told["error"]
        assert wallet.state(b) == "up"
        status, told = await admin.order("up1/drain?force=1")
        assert (status, told["state"]) == (200, "drained")
        # A request that waits for somebody goes on when one is there again.
        waiting = asyncio.ensure_future(wallet.call("eth_gasPrice"))
        await until(lambda: bool(wallet.runtime.executor._waiting))
        assert (await admin.order("up1/undrain"))[1]["state"] == "up"
        assert "result" in await waiting
        assert (await admin.order("up0/undrain"))[1]["state"] == "up"
        assert (await admin.order("up0/cordon"))[1]["state"] == "cordoned"
        await wallet.call("eth_gasPrice")
        assert len(a.calls) == 0
        assert (await admin.order("up0/cordon"))[1]["result"] == "it was so already"
        assert (await admin.order("up0/uncordon"))[1]["state"] == "up"
        assert wallet.runtime.counters.changes["up0", "drained"] == 1
        # What is not there.
        status, told = await admin.order("upp0/drain")
        assert (status, told["error"]) == (
            404,
            "chain test has no upstream 'upp0'; did you mean 'up0'?",
        )
        status, told = await admin.ask("POST", "/upstreams/moon/up0/drain")
        assert (status, told["error"]) == (404, "there is no chain 'moon' here; served are test")
        assert (await admin.order("up0/explode"))[0] == 404
        assert (await admin.ask("GET", "/upstreams/test/up0/drain"))[0] == 405


@on_uvloop
async def test_who_ordered_it_and_since_when_is_told() -> None:
    async with (
        Upstream(each(good)) as a,
        Upstream(each(good)) as b,
        an_admin(a, b) as admin,
    ):

        async def order_told() -> dict[str, Any] | None:
            _, page = await admin.ask("GET", "/status")
            told: dict[str, Any] | None = page["chains"][0]["upstreams"][0]["order"]
            return told

        assert await order_told() is None
        await admin.ask("POST", "/upstreams/test/up0/drain", **{"X-Operator": "alice " + "x" * 99})
        first = await order_told()
        assert first is not None
        assert first["order"] == "drain"
        assert first["since"].startswith("20")
        assert first["by"] == "alice " + "x" * 54 + ", from 127.0.0.1"
        await admin.order("up0/drain")
        assert await order_told() == first
        await admin.order("up0/undrain")
        await admin.order("up0/cordon")
        told = await order_told()
        assert told is not None
        assert (told["order"], told["by"]) == ("cordon", "from 127.0.0.1")


@on_uvloop
async def test_orders_outlive_a_reload() -> None:
    async with (
        Upstream(each(good)) as a,
        Upstream(each(good)) as b,
        an_admin(a, b) as admin,
    ):
        proxy = admin.wallet.proxy
        await admin.order("up0/drain")
        proxy.reload(proxy.config)
        standings = proxy.chains["test"].standings
        assert standings["up0"].state == "drained"
        assert [standing.name for standing in standings.usable(0)] == ["up1"]  # type: ignore[arg-type]


@on_uvloop
async def test_explanations_and_failures() -> None:
    def failing(call: Any) -> bytes:
        if call.method == "eth_gasPrice":
            return b"no json"
        return good(call)

    deadlines = model.Deadlines(light_seconds=0.4)
    async with Upstream(each(failing)) as a, an_admin(a, deadlines=deadlines) as admin:
        status, told = await admin.ask("POST", "/explain?chain=test", ASK)
        assert status == 200
        assert (told["method"], told["answered_by"]) == ("eth_getBalance", "upstreams")
        assert told["order"]["asked"][0]["name"] == "up0"
        assert told["params"][1].startswith("0x"), "the tag is replaced"
        assert len(a.calls) == 0
        for path, body, status, words in (
            ("/explain?chain=moon", ASK, 404, "there is no chain 'moon'"),
            ("/explain", b"{", 400, "parse error"),
            ("/explain", b"[%b]" % ASK, 400, "that is a batch"),
        ):
            assert (await admin.ask("POST", path, body))[0] == status
            assert words in (await admin.ask("POST", path, body))[1]["error"]
        assert (await admin.ask("GET", "/failures"))[1] == {"failures": []}
        response = await admin.wallet.post(
            b'{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":["private words"]}'
        )
        assert b"error" in response.body
        _, told = await admin.ask("GET", "/failures")
        [failure] = told["failures"]
        assert failure["trace_id"] == response.headers["x-trace-id"]
        assert (failure["chain"], failure["method"]) == ("test", "eth_gasPrice")
        assert "up0" in failure["reason"]
        assert failure["time"].endswith("Z")
        assert "private words" not in str(told)


@on_uvloop
async def test_failed_sends_are_told_with_their_reason() -> None:
    async with Upstream(each(good)) as a, an_admin(a) as admin:
        control: Control = admin.wallet.proxy.control
        log = admin.wallet.runtime.pipeline.log
        log.unserved(OpenRequest(Request("m" * 100), "trace", 0.0), Reason("brief", "in full"))
        log.unserved(OpenRequest(Request("m"), "trace", 0.0), Reason("brief"))
        entries = control.failures({})["failures"]
        assert [entry["reason"] for entry in entries] == ["brief", "in full"]
        assert [entry["told"] for entry in entries] == ["", "brief"]
        assert len(entries[1]["method"]) == 80


@on_uvloop
async def test_reload_and_log_level() -> None:
    async with Upstream(each(good)) as a, an_admin(a) as admin:
        proxy = admin.wallet.proxy
        status, told = await admin.ask("POST", "/reload")
        assert status == 409
        assert "no configuration file" in told["error"]
        proxy.control.ask_reload = lambda: proxy.reload(proxy.config)
        assert await admin.ask("POST", "/reload") == (200, {"result": "taken over"})
        proxy.control.ask_reload = lambda: proxy.refuse_reload("line 3: that is wrong")
        status, told = await admin.ask("POST", "/reload")
        assert status == 409
        assert told["error"].endswith("the configuration in force stays: line 3: that is wrong")
        logger = logging.getLogger("rpcproxy")
        before = logger.level
        try:
            for level in ("debug", "warning"):
                assert await admin.ask("PUT", "/log-level", {"level": level}) == (
                    200,
                    {"level": level},
                )
                assert logger.level == getattr(logging, level.upper())
            assert (await admin.ask("GET", "/log-level"))[1] == {"level": "warning"}
            for wrong in ({"level": "loud"}, {"level": 3}, {}, [], b'{"level":"\xa4"}'):
                status, told = await admin.ask("PUT", "/log-level", wrong)
                assert status == 400
                assert "debug, info, warning, error" in told["error"]
        finally:
            logger.setLevel(before)


@on_uvloop
async def test_the_token_of_the_configuration_is_wanted() -> None:
    token = "a-token-of-sixteen"
    async with Upstream(each(good)) as a, an_admin(a, server={"admin_token": token}) as admin:
        assert (await admin.ask("GET", "/status"))[0] == 401
        assert (await admin.ask("GET", "/healthz"))[0] == 200
        right = {"Authorization": f"Bearer {token}"}
        assert (await admin.ask("GET", "/status", **right))[0] == 200
        assert (await admin.ask("PUT", "/log-level", {"level": "info"}, **right))[0] == 200
        assert (await admin.ask("POST", "/upstreams/test/up0/cordon"))[0] == 401
