"""edges.webhook and app.people.notifier: delivery to a receiver that fails first, or always."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rpcproxy.app.people.notifier import Notices, NoticeTimes
from rpcproxy.app.people.timeline_disk import BOUNDS, FILE_NAME, Run, entry_of_run
from rpcproxy.app.proxy import Proxy
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config.model import Address, Config, History, Notice, Server
from rpcproxy.edges.disk.timeline_store import TimelineStore
from rpcproxy.edges.logs import Redactor
from rpcproxy.edges.metrics.metrics import Counters
from rpcproxy.edges.webhook import LONGEST_ASKED_SECONDS, Webhook
from rpcproxy.rules.telling import notices as rules
from rpcproxy.states import Change
from tests.kits.jumping import JumpingLoop, on_a_jumping_loop
from tests.kits.waiting import limited, until

KEY = "T0123456789abcdef"


class Receiver:
    """Answers with ``replies`` in turn, and 200 after them."""

    def __init__(self) -> None:
        self.replies: list[web.Response] = []
        self.bodies: list[Any] = []
        self.taken_at: list[float] = []
        self.is_slow = False
        self.url = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.taken_at.append(asyncio.get_running_loop().time())
        self.bodies.append(json.loads(await request.read()))
        if self.is_slow:
            await asyncio.Event().wait()
        return self.replies.pop(0) if self.replies else web.Response()

    async def wait_for(self, count: int) -> None:
        await until(lambda: len(self.bodies) >= count)


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    taken = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", taken.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    taken.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{KEY}"
    yield taken
    await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as taken:
        yield taken


BACKOFF_SECONDS = 0.001
QUICK = NoticeTimes(group_seconds=0.01, backoff_seconds=BACKOFF_SECONDS)


# ---- delivery


async def test_a_receiver_that_is_away_is_asked_again(receiver: Receiver) -> None:
    receiver.replies = [web.Response(status=status) for status in (503, 429, 500)]
    webhook = Webhook(receiver.url, backoff_seconds=BACKOFF_SECONDS)
    assert await webhook.post(b'{"text":"x"}') == ""
    assert receiver.bodies == [{"text": "x"}] * 4
    await webhook.close()


@pytest.mark.parametrize("status", [302, 400, 404, 410])
async def test_what_will_not_change_is_not_tried_again(receiver: Receiver, status: int) -> None:
    receiver.replies = [web.Response(status=status, headers={"Location": "/elsewhere"})]
    webhook = Webhook(receiver.url, backoff_seconds=BACKOFF_SECONDS)
    assert await webhook.post(b"{}") == f"HTTP {status}"
    assert len(receiver.bodies) == 1
    await webhook.close()


@on_a_jumping_loop
async def test_it_waits_as_long_as_it_is_asked_to() -> None:
    asked = ("7", "1e9", "-3", "Fri, 31 Dec 2027 23:59:59 GMT")
    async with receiving() as receiver:
        replies = [web.Response(status=429, headers={"Retry-After": each}) for each in asked]
        receiver.replies = replies
        webhook = Webhook(receiver.url, backoff_seconds=BACKOFF_SECONDS)
        assert await webhook.post(b"{}") == ""
        await webhook.close()
    pauses = [after - before for before, after in itertools.pairwise(receiver.taken_at)]
    assert pauses[:2] == pytest.approx([7.0, LONGEST_ASKED_SECONDS], abs=0.1)
    assert len(pauses) == 4
    assert all(pause < 1.0 for pause in pauses[2:])


async def test_nobody_there_is_said_without_the_url(unused_tcp_port_of: Callable[[], int]) -> None:
    webhook = Webhook(
        f"http://127.0.0.1:{unused_tcp_port_of()}/{KEY}", backoff_seconds=BACKOFF_SECONDS
    )
    words = await webhook.post(b"{}", tries=2)
    assert words.startswith("Client")
    assert KEY not in words
    await webhook.close()


async def test_an_outbound_proxy_that_is_not_there_is_said_too(
    unused_tcp_port_of: Callable[[], int],
) -> None:
    proxy = f"http://someone:{KEY}@127.0.0.1:{unused_tcp_port_of()}"
    webhook = Webhook(f"http://hooks.test/{KEY}", proxy=proxy)
    assert await webhook.post(b"{}", tries=1) == "ProxyConnectionError"
    await webhook.close()


@pytest.fixture
def unused_tcp_port_of() -> Callable[[], int]:
    import socket

    def find() -> int:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port: int = found.getsockname()[1]
            return port

    return find


# ---- what the proxy tells


def make(
    receiver: Receiver, *events: str, times: NoticeTimes = QUICK, clock: Clock = SYSTEM_CLOCK
) -> tuple[Notices, Counters]:
    counters = Counters()
    told = Notices(counters, Redactor([KEY]), clock, times)
    told.configure([Notice(url=receiver.url, events=events)])
    return told, counters


async def test_changes_arrive_without_secrets(receiver: Receiver) -> None:
    told, counters = make(receiver, "ejected", "recovered")
    told.on_change("ethereum", Change("infura", "ejected", f"GET /{KEY}: 3 timeouts"))
    told.on_change("ethereum", Change("infura", "lagging", "not asked for"))
    told.on_change("ethereum", Change("drpc", "recovered", "was never ill"))
    await receiver.wait_for(1)
    await told.close()
    (body,) = receiver.bodies
    assert body["text"] == "rpcproxy: ethereum: infura is left out: GET /[secret]: 3 timeouts"
    assert [alert["labels"]["upstream"] for alert in body["alerts"]] == ["infura"]
    assert counters.notices == {"sent": 1, "undelivered": 0, "left_out": 0}


async def test_a_failing_webhook_is_logged_and_said_later(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    told, counters = make(receiver, "ejected", "config_reload")
    receiver.replies = [web.Response(status=404)]
    told.on_change("ethereum", Change("a", "ejected", "why"))
    await receiver.wait_for(1)

    teller = next(iter(told._tellers.values()))
    async with limited():
        await teller._sent
    await asyncio.sleep(0)
    assert counters.notices["undelivered"] == 1
    told.on_reload("taken over", is_accepted=True)
    await receiver.wait_for(2)
    await told.close()
    assert "1 earlier changes could not be delivered" in receiver.bodies[1]["text"]
    assert counters.notices == {"sent": 1, "undelivered": 1, "left_out": 0}
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (line.event, line.fields["reason"]) == ("notice_undelivered", "HTTP 404")
    assert KEY not in line.getMessage() + str(line.fields)


async def test_the_end_is_told_and_does_not_wait_long(receiver: Receiver) -> None:
    told, counters = make(receiver, "outage", times=NoticeTimes(group_seconds=60.0))
    told._tell(rules.NoticeEvent(kind="outage", chain="ethereum"))
    await told.close()  # what still gathers is sent at once
    assert counters.notices["sent"] == 1
    told, counters = make(receiver, "outage", times=NoticeTimes(last_words_seconds=0.05))
    receiver.is_slow = True
    told._tell(rules.NoticeEvent(kind="outage", chain="ethereum"))
    async with limited():
        await told.close()
    assert counters.notices["undelivered"] == 1


@on_a_jumping_loop
async def test_what_is_under_way_and_what_is_left_share_one_moment() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop)
    times = NoticeTimes(group_seconds=0.0, last_words_seconds=4.0)
    async with receiving() as receiver:
        receiver.is_slow = True
        told, counters = make(receiver, "outage", "ejected", times=times, clock=loop.clock)
        told._tell(rules.NoticeEvent(kind="outage", chain="ethereum"))
        await receiver.wait_for(1)
        told.on_change("ethereum", Change("a", "ejected", "why"))
        began = loop.time()
        closing = asyncio.ensure_future(told.close())
        await receiver.wait_for(2)  # what is left is tried, too
        assert loop.time() - began == pytest.approx(2.0, abs=0.1)
        assert not closing.done()
        await closing
        assert loop.time() - began == pytest.approx(4.0, abs=0.1)
        assert counters.notices == {"sent": 0, "undelivered": 2, "left_out": 0}


async def test_a_proxy_ends_with_its_webhooks_and_its_traces_at_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(server=Server(listen=Address(host="127.0.0.1", port=0), admin=None), chains=())
    proxy = Proxy(config)
    both = asyncio.Barrier(2)

    async def close() -> None:
        await both.wait()

    monkeypatch.setattr(proxy._notices, "close", close)
    monkeypatch.setattr(proxy._tracing, "close", close)
    async with limited():
        await proxy.stop(drain_seconds=0)


async def test_a_start_tells_that_the_process_before_it_died(
    receiver: Receiver, tmp_path: Path
) -> None:
    store = await TimelineStore.open(tmp_path / FILE_NAME, bounds=BOUNDS)
    run = Run(id="before", version="1.2.3", started_unix=1.0, seen_unix=2.0)
    store.put([entry_of_run(run)], lambda _: None)
    await store.close()
    history = History(path=str(tmp_path))
    server = Server(listen=Address(host="127.0.0.1", port=0), admin=None, history=history)
    notices = (Notice(url=receiver.url, events=("died",)),)
    proxy = Proxy(Config(server=server, chains=(), notify=notices))
    await proxy.start()
    await proxy.stop(drain_seconds=0)
    (told,) = receiver.bodies
    assert "1.2.3" in json.dumps(told)


async def test_a_reload_keeps_webhooks_and_takes_leave_of_others(receiver: Receiver) -> None:
    told, counters = make(receiver, "ejected")
    first = Notice(url=receiver.url, events=("ejected",))
    before = told._tellers[first]
    told.configure([first, Notice(url=receiver.url + "/b", events=("ejected",))])
    assert told._tellers[first] is before
    told.configure([])
    told.on_change("ethereum", Change("a", "ejected", "why"))
    await told.close()
    assert before._task.done()
    assert counters.notices["sent"] == 0


async def test_a_flood_is_bounded(receiver: Receiver) -> None:
    receiver.is_slow = True
    told, counters = make(receiver, "ejected")
    for number in range(5000):
        told.on_change("ethereum", Change(f"u{number}", "ejected", "why"))
    assert counters.notices["left_out"] == 5000 - rules.MOST_LINES
    teller = next(iter(told._tellers.values()))
    assert len(teller._gathering._lines) == rules.MOST_LINES
    receiver.is_slow = False
    await told.close()
    assert receiver.bodies[-1]["truncatedAlerts"] == 5000 - rules.MOST_LINES
