"""Starting on ports that are open already: a service manager's, or those of the rpcproxy that
served before, which then leaves. No connection is refused in between, and no request lost.

Whoever serves (``app.takeover.offer``) listens on a Unix socket in the state directory, named by
its wallet address. The next process, the *successor*, begins to watch its chains and asks there:

    sockets  the listening sockets, the head that is served on each chain, the operators' orders
    ports    "I can serve": the old one accepts no more, and tells heads and orders once more
    served   "I do": the old one finishes what it has, lets go of the journals, and ends

Until ``served`` the old one can go on as if nothing had happened, and does where the successor
leaves. Nothing is handed to one that cannot serve what is served now, or would leave transactions
behind. Where the old one ends before that, its successor serves on the sockets that it holds.

No state.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from rpcproxy.app.proxy import Proxy
from rpcproxy.app.storage.state_place import state_directory
from rpcproxy.app.takeover.handover import (
    ServedHeads,
    expect_journals,
    follow_orders,
    heads_of,
    orders_in,
    plans_of,
)
from rpcproxy.config.model import Address, Config
from rpcproxy.edges.logs import event
from rpcproxy.edges.process.given_sockets import (
    ADMIN,
    WALLET,
    Broken,
    Channel,
    SocketPath,
    Sockets,
    from_service_manager,
)

_log = logging.getLogger("rpcproxy.app")

# For how long another process may keep what it is leaving.
PREDECESSOR_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.01

_DROPPED: Final = (BrokenPipeError, ConnectionResetError)


@dataclass(frozen=True, slots=True)
class TakeoverTimes:
    """How long the two processes wait for each other.

    ``ready_seconds``: until the successor can serve what is served now; it has no more to learn
    after that. ``heads_seconds``: for the heads that were told last, while nobody accepts.
    ``served_seconds``: from ``ports`` on, until the successor serves; nobody who connects is
    answered meanwhile. ``talk_seconds``: for one word of the other process. ``notice_seconds``:
    until the other process has noticed that we left.
    """

    ready_seconds: float = 15.0
    heads_seconds: float = 1.0
    served_seconds: float = 3.0
    talk_seconds: float = 5.0
    notice_seconds: float = 1.0


USUAL_TIMES: Final = TakeoverTimes()


class TakeoverRefused(Broken):
    """The other process is there, and says no. ``can_ask_again``: in a moment it may say yes."""

    def __init__(self, words: str, *, can_ask_again: bool) -> None:
        super().__init__(words)
        self.can_ask_again = can_ask_again


class NotReady(Broken):
    """We cannot serve what the other process does."""


class NotTaken(Exception):
    """Nothing was taken over, and the other process goes on. Its text says why."""


async def start(
    proxy: Proxy,
    environ: MutableMapping[str, str],
    *,
    takes_over: bool = False,
    times: TakeoverTimes = USUAL_TIMES,
) -> bool:
    """Start on sockets that a service manager gives or, where ``takes_over``, the process that has
    them now; else as ``Proxy.start``. Says whether another process was taken over.

    Raises ``OSError`` as that does, and ``NotTaken``.
    """
    given = from_service_manager(environ, os.getpid())
    if given:
        # The one before us, of a service that is restarted, may still be finishing.
        proxy.build(PREDECESSOR_SECONDS)
        await proxy.open_journals()
        await proxy.listen(given)
        proxy.watch()
        return False
    for place in await asyncio.to_thread(places_of, proxy.config) if takes_over else ():
        try:
            peer = await asyncio.to_thread(place.connect)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError, PermissionError):
            continue
        if await _take_over(proxy, Channel(peer, times.talk_seconds), place, times):
            return True
    if takes_over:
        # One that was told to stop a moment ago is not to be asked any more, and has its ports yet.
        await _until_free(proxy, proxy.config.server.drain_seconds + times.notice_seconds)
    await proxy.start()
    return False


async def _until_free(proxy: Proxy, seconds: float) -> None:
    """Wait until nobody has our ports, no longer than that."""
    server, now = proxy.config.server, proxy.clock.monotonic
    deadline = now() + seconds
    has_told = False
    for address in (server.listen, server.admin):
        while address is not None and address.port and now() < deadline:
            if not await _is_in_use(address):
                break
            if not has_told:
                has_told = True
                words = f"{address.host}:{address.port} is in use: waiting for whoever leaves it"
                event(_log, logging.WARNING, "takeover", words, longest_seconds=seconds)
            await asyncio.sleep(LOOK_SECONDS)


async def _is_in_use(address: Address) -> bool:
    try:
        for host, port in await _places(address):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, port), family=family).close()
    except OSError as error:  # any other fault is told of by the start
        return error.errno == errno.EADDRINUSE
    return False


def places_of(config: Config) -> list[SocketPath]:
    """Where whoever serves these wallets may be asked. Blocks while a host name is looked up."""
    listen = config.server.listen
    if not listen.port:
        return []
    try:
        found = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        return []
    return places_named((str(place[0]), int(place[1])) for _, _, _, _, place in found)


def places_named(addresses: Iterable[tuple[str, int]]) -> list[SocketPath]:
    """The Unix sockets of these wallet addresses. IPv4 first: of a name with several, that is the
    address that is written elsewhere, too.
    """
    state = state_directory()
    if state is None:
        return []
    directory = state / "takeover"
    ordered = sorted(set(addresses), key=lambda address: (":" in address[0], address))
    return [
        SocketPath(directory / f"{host.replace(':', '_')}-{port}.sock") for host, port in ordered
    ]


def remedy(config: Config, choose: str = "choose another port") -> str:
    """What can be done about a port that is in use; how to ``choose`` another one."""
    if all(place.identity() is None for place in places_of(config)):
        return choose
    return f"{choose}, or add --takeover where that is another rpcproxy"


async def _take_over(
    proxy: Proxy, channel: Channel, place: SocketPath, times: TakeoverTimes
) -> bool:
    """Whether we serve in the other's place. It is not so where that one ended before it gave us
    anything.
    """
    held: dict[str, list[socket.socket]] = {}
    heads: dict[str, int] = {}
    try:
        try:
            await _get_ready(proxy, channel, held, heads, times)
        except (Broken, OSError) as error:
            if isinstance(error, TakeoverRefused | NotReady):
                raise
            channel.close()  # another talk is listened to once this one is over
            if await _is_serving(place, proxy, times):
                raise
            if not proxy.chains:
                _close(held)
                return False
            words = "the process that served has ended meanwhile: this one serves in its place"
            event(_log, logging.WARNING, "takeover", words, reason=str(error))
        await _reach(proxy, heads, times.heads_seconds)
        await proxy.listen(held)
        try:
            await _ask(channel, "served")
        except (Broken, OSError):
            # Whether it heard us is not known. Two that serve do less harm than none.
            channel.close()
            if await _is_serving(place, proxy, times):
                raise
    except (Broken, OSError, KeyError, TypeError) as error:
        _close(held)
        await proxy.stop(drain_seconds=0)
        raise NotTaken(f"the process that serves now could not be taken over: {error}") from None
    except BaseException:
        await proxy.stop(drain_seconds=0)
        raise
    finally:
        channel.close()
    return True


async def _get_ready(
    proxy: Proxy,
    channel: Channel,
    held: dict[str, list[socket.socket]],
    heads: dict[str, int],
    times: TakeoverTimes,
) -> None:
    """Until the ports are ours: the sockets that are wanted here are in ``held``, and what was told
    last in ``heads``.
    """
    words, descriptors = await _ask(channel, "sockets", chains=plans_of(proxy.config))
    for name, descriptor in zip(words.get("sockets", ()), descriptors, strict=False):
        held.setdefault(name, []).append(socket.socket(fileno=descriptor))
    kept = await _still_wanted(held, proxy.config)
    held.clear()
    held.update(kept)
    heads.update(words["heads"])
    proxy.build(PREDECESSOR_SECONDS)
    follow_orders(proxy, orders_in(words))
    proxy.timeline.are_orders_told = True
    expect_journals(proxy, words)
    proxy.watch()
    if not await _reach(proxy, heads, times.ready_seconds, channel):
        late = ", ".join(_behind(proxy, heads))
        raise NotReady(
            f"{late} cannot be served from here within {times.ready_seconds:g} s, and is there"
        )
    words, _ = await _ask(channel, "ports")
    heads.update(words["heads"])
    follow_orders(proxy, orders_in(words))


def _close(held: Sockets) -> None:
    for each in (each for some in held.values() for each in some):
        each.close()


async def _ask(channel: Channel, wanted: str, **more: object) -> tuple[dict[str, Any], list[int]]:
    # One that will not talk answers before it has listened, and leaves: its words are there.
    with contextlib.suppress(*_DROPPED):
        await asyncio.to_thread(channel.send, {"want": wanted, **more})
    try:
        words, descriptors = await asyncio.to_thread(channel.receive)
    except _DROPPED:
        raise Broken("the other process left") from None
    if "refused" in words:
        raise TakeoverRefused(str(words["refused"]), can_ask_again=bool(words.get("busy")))
    return words, descriptors


async def _is_serving(place: SocketPath, proxy: Proxy, times: TakeoverTimes) -> bool:
    """Whether the other process goes on, and could be taken over once more. It may take a moment
    to notice that a talk is over, and to close its door.
    """
    now = proxy.clock.monotonic
    deadline = now() + times.notice_seconds
    while now() < deadline:
        try:
            channel = Channel(await asyncio.to_thread(place.connect), times.talk_seconds)
        except OSError:
            return False
        try:
            _, descriptors = await _ask(channel, "sockets", chains=plans_of(proxy.config))
        except (Broken, OSError) as error:
            if isinstance(error, TakeoverRefused) and not error.can_ask_again:
                return True
            await asyncio.sleep(LOOK_SECONDS)
            continue
        finally:
            channel.close()
        for descriptor in descriptors:
            os.close(descriptor)
        return True
    return False


async def _still_wanted(given: Sockets, config: Config) -> dict[str, list[socket.socket]]:
    """Those that listen where the configuration says; the others are closed."""
    wanted = {WALLET: config.server.listen, ADMIN: config.server.admin}
    kept: dict[str, list[socket.socket]] = {}
    for name, sockets in given.items():
        address = wanted.get(name)
        places = set() if address is None else await _places(address)
        for each in sockets:
            if each.getsockname()[:2] in places:
                kept.setdefault(name, []).append(each)
            else:
                each.close()
    return kept


async def _places(address: Address) -> set[tuple[str, int]]:
    """What an address may be bound as."""
    loop = asyncio.get_running_loop()
    flags = socket.AI_PASSIVE
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    return {(str(place[0]), int(place[1])) for _, _, _, _, place in found}


async def _reach(
    proxy: Proxy, heads: ServedHeads, seconds: float, channel: Channel | None = None
) -> bool:
    """Wait until every chain of ours has got to the head that was told; whether in time. Raises
    ``Broken`` where whoever is at the other end of the channel leaves.
    """
    deadline = proxy.clock.monotonic() + seconds
    while _behind(proxy, heads):
        if proxy.clock.monotonic() >= deadline:
            return False
        if channel is not None and channel.has_left:
            raise Broken("the other process left")
        await asyncio.sleep(LOOK_SECONDS)
    return True


def _behind(proxy: Proxy, heads: ServedHeads) -> list[str]:
    ours = heads_of(proxy)
    return [name for name in proxy.chains if ours.get(name, -1) < heads.get(name, -1)]
