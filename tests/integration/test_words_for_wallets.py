"""What wallets and the public are told holds no path, no process id, no address of a node, and not
what the system calls an error; operators are told all of it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rpcproxy.app.proxy import Proxy
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_text
from rpcproxy.edges.disk.journal import DiskJournal
from rpcproxy.edges.disk.journal_file import JournalFile
from tests.integration.rpc_kit import CHAIN_ID, on_uvloop
from tests.kits.sends_kit import signed
from tests.kits.waiting import until

# Whatever of these is in an answer is a leak.
PRIVATE = re.compile(
    r"127\.0\.0\.1|localhost|:\d{4,5}\b|/tmp|/root|\.sqlite|\.lock|[Ee]rrno|process \d|"
    r"Permission denied|No space left|Not a directory|Traceback|object at 0x|\.py\b"
)
SEND = "eth_sendRawTransaction"


def leaks_in(text: str) -> list[str]:
    return PRIVATE.findall(text)


@contextlib.contextmanager
def a_closed_port() -> Iterator[int]:
    """Nobody listens there, and nobody else is given it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class Wallets:
    """The wallet port of a proxy, and its admin port."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        self.proxy = proxy
        self._session = session

    async def ask(self, method: str, *params: Any) -> str:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        host, port = self.proxy.address
        async with self._session.post(f"http://{host}:{port}/", json=body) as reply:
            return await reply.text()

    async def get(self, path: str, accept: str = "*/*") -> str:
        host, port = self.proxy.address
        url = f"http://{host}:{port}{path}"
        async with self._session.get(url, headers={"Accept": accept}) as reply:
            text = (await reply.text()).replace(f"{host}:{port}", "OUR-OWN-ADDRESS")
            return re.sub(r"(?s)<(script|style)>.*?</\1>", "", text)

    async def operators(self, path: str) -> Any:
        assert self.proxy.admin_address is not None
        host, port = self.proxy.admin_address
        async with self._session.get(f"http://{host}:{port}{path}") as reply:
            return json.loads(await reply.text())


@contextlib.asynccontextmanager
async def a_proxy_of(urls: list[str], journal: Path | None) -> AsyncIterator[Wallets]:
    """Upstreams are given as bare URLs."""
    listed = "".join(f"      - {url}\n" for url in urls)
    text = (
        "server:\n"
        "  listen: 127.0.0.1:0\n  admin: 127.0.0.1:0\n  status_page: on\n  history: off\n"
        f"  journal: {'off' if journal is None else journal}\n"
        "chains:\n"
        f"  - name: test\n    chain_id: {CHAIN_ID}\n"
        f"    deadlines: {{light: 1s, heavy: 1s, send: 2s}}\n    upstreams:\n{listed}"
    )
    proxy = Proxy(load_text(text, file="proxy.yaml", known=KNOWN, environ={}))
    await proxy.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Wallets(proxy, session)
    finally:
        await proxy.stop(drain_seconds=0)


# ---- upstreams that cannot be reached, and that talk of their own


@on_uvloop
async def test_an_outage_names_no_address() -> None:
    with a_closed_port() as one, a_closed_port() as two:
        urls = [f"http://127.0.0.1:{one}", f"http://localhost:{two}/v1/some-long-key-0123456789"]
        async with a_proxy_of(urls, None) as wallets:
            standings = wallets.proxy.chains["test"].standings
            await until(
                lambda: all("refused" in each.reason for each in standings), limit_seconds=9
            )
            for method, params in (
                ("eth_gasPrice", []),
                (SEND, [signed().raw]),
                ("eth_getLogs", [{}]),
            ):
                answer = await wallets.ask(method, *params)
                assert "error" in json.loads(answer)
                assert leaks_in(answer) == [], answer
                assert "upstream-1" in answer or method == SEND, answer
            for path in ("/readyz", "/status.json", "/status", "/"):
                for accept in ("*/*", "text/html"):
                    page = await wallets.get(path, accept)
                    assert leaks_in(page) == [], page
            ready = json.loads(await wallets.get("/readyz"))
            states = [each.state for each in standings]
            assert ready["chains_down"] == {
                "test": f"upstream-1 {states[0]}; upstream-2 {states[1]}"
            }
            names = [each["name"] for each in await shown_upstreams(wallets)]
            assert names == ["upstream-1", "upstream-2"]
            # Operators keep their names, and are told why.
            told = await wallets.operators("/readyz")
            assert f"127.0.0.1:{one}" in told["chains_down"]["test"]


async def shown_upstreams(wallets: Wallets) -> list[dict[str, Any]]:
    (chain,) = json.loads(await wallets.get("/status.json"))["chains"]
    upstreams: list[dict[str, Any]] = chain["upstreams"]
    return upstreams


@on_uvloop
async def test_live_events_name_no_address() -> None:
    with a_closed_port() as port:
        async with a_proxy_of([f"http://127.0.0.1:{port}"], None) as wallets:
            host, own = wallets.proxy.address
            url = f"http://{host}:{own}/status/events"
            async with aiohttp.ClientSession() as session, session.get(url) as stream:
                await stream.content.readuntil(b"\n\n")  # when to come again
                heard = (await stream.content.readuntil(b"\n\n")).decode()
            assert "upstream-1" in heard
            assert leaks_in(heard) == []


# ---- journals, in each way in which one can be refused


def in_use(path: Path) -> contextlib.AbstractAsyncContextManager[None]:
    @contextlib.asynccontextmanager
    async def held() -> AsyncIterator[None]:
        other = await DiskJournal.open(path, f"evm:{CHAIN_ID}")
        try:
            yield
        finally:
            await other.close()

    return held()


def made_by(make: Callable[[Path], None]) -> Callable[[Path], Any]:
    def place(path: Path) -> Any:
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        return contextlib.AsyncExitStack()

    return place


def newer(path: Path) -> None:
    JournalFile(path, f"evm:{CHAIN_ID}").close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def of_another_chain(path: Path) -> None:
    JournalFile(path, "evm:4242").close()


def of_another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")


def no_file(path: Path) -> None:
    path.mkdir()


def raising(error: Exception) -> Callable[[Path], Any]:
    """Whatever else ``open`` may come to."""

    def place(_path: Path) -> Any:
        patch = pytest.MonkeyPatch()

        async def refused(*_: Any, **__: Any) -> DiskJournal:
            raise error

        patch.setattr(DiskJournal, "open", refused)
        stack = contextlib.AsyncExitStack()
        stack.callback(patch.undo)
        return stack

    return place


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/root/state/test.sqlite")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (in_use, "another process of this proxy has it"),
        (made_by(newer), "it was written by a newer version of this proxy"),
        (made_by(of_another_chain), "it is the one of another chain"),
        (made_by(of_another_program), "in its place is a file of another program"),
        (made_by(no_file), "the disk fails"),
        (raising(os_error(errno.ENOSPC)), "the disk is full"),
        (raising(os_error(errno.EACCES)), "that is not permitted"),
        (raising(os_error(errno.EROFS)), "that is not permitted"),
        (raising(os_error(errno.EIO)), "the disk fails"),
        (raising(os_error(errno.EMFILE)), "the disk fails"),
        (raising(ValueError("/root/state: <object at 0x7f>")), "by a fault of our own"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_journal_that_is_refused(tmp_path: Path, place: Any, words: str) -> None:
    @on_uvloop
    async def story() -> None:
        directory = tmp_path / "state"
        with a_closed_port() as port:
            async with (
                place(directory / "test.sqlite"),
                a_proxy_of([f"http://127.0.0.1:{port}"], directory) as wallets,
            ):
                ledger = wallets.proxy.chains["test"].transactions.ledger
                await until(lambda: bool(ledger.trouble))
                answer = await wallets.ask(SEND, signed().raw)
                assert words in json.loads(answer)["error"]["message"]
                assert leaks_in(answer) == [], answer
                assert words in ledger.public_trouble

    story()
