"""Starting on ports that are open already: a service manager's, or those of the rpcproxy that
served before, which then leaves. No connection is refused in between, and no request lost.

Whoever serves listens on a Unix socket in the state directory, named by its wallet address. The
next process, the *successor*, begins to watch its chains and asks there:

    sockets  the listening sockets, and the head that is served on each chain
    ports    "I can serve": the old one accepts no more, and tells the heads once more
    served   "I do": the old one finishes what it has, lets go of the journals, and ends

Until ``served`` the old one can go on as if nothing had happened, and does where the successor
leaves. Nothing is handed to one that cannot serve what is served now.

State: ``Offer`` has the Unix socket and the talk under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from rpcproxy.app.journal import state_directory
from rpcproxy.app.proxy import Proxy
from rpcproxy.config.model import Address, Config
from rpcproxy.edges.given_sockets import (
    ADMIN,
    WALLET,
    Broken,
    Channel,
    Place,
    Sockets,
    from_service_manager,
    is_own_peer,
)
from rpcproxy.edges.logs import event
from rpcproxy.engine import tasks
from rpcproxy.messages import MethodClass

_log = logging.getLogger("rpcproxy.app")

# Until the successor can serve what is served now; it has no more to learn after that.
READY_SECONDS: Final = 15.0
# The heads that were told last are waited for this long, while nobody accepts.
HEADS_SECONDS: Final = 1.0
# One word of the other process.
TALK_SECONDS: Final = 5.0
# Until the other process has noticed that we left.
NOTICE_SECONDS: Final = 1.0
# For how long another process may keep what it is leaving.
PREDECESSOR_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.01

Heads = Mapping[str, int]


class NotTaken(Exception):
    """Nothing was taken over, and the other process goes on. Its text says why."""


async def start(
    proxy: Proxy, environ: MutableMapping[str, str], *, takes_over: bool = False
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
    place = place_of(proxy.config)
    if takes_over and place is not None:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            peer = await asyncio.to_thread(place.connect)
            await _take_over(proxy, Channel(peer, TALK_SECONDS), place)
            return True
    await proxy.start()
    return False


def place_of(config: Config) -> Place | None:
    """Where whoever serves these wallets can be asked; ``None`` where nobody could name it."""
    listen = config.server.listen
    if not listen.port:
        return None
    name = f"{listen.host.replace(':', '_')}-{listen.port}.sock"
    return Place(state_directory() / "takeover" / name)


def remedy(config: Config) -> str:
    """What can be done about a port that is in use."""
    place = place_of(config)
    if place is None or place.identity() is None:
        return "choose another port"
    return "choose another port, or add --takeover where that is another rpcproxy"


def heads_of(proxy: Proxy) -> dict[str, int]:
    """The served head of each chain that somebody can be asked for."""
    return {
        name: runtime.standings.heads.served
        for name, runtime in proxy.chains.items()
        if runtime.standings.usable(MethodClass.LIGHT)
    }


# --------------------------------------------------------------------------
# The successor


async def _take_over(proxy: Proxy, channel: Channel, place: Place) -> None:
    sockets: dict[str, list[socket.socket]] = {}
    try:
        words, descriptors = await _ask(channel, "sockets")
        for name, descriptor in zip(words.get("sockets", ()), descriptors, strict=False):
            sockets.setdefault(name, []).append(socket.socket(fileno=descriptor))
        sockets = await _still_wanted(sockets, proxy.config)
        await _begin(proxy, words["heads"])
        words, _ = await _ask(channel, "ports")
        await _reach(proxy, words["heads"], HEADS_SECONDS)
        await proxy.listen(sockets)
        try:
            await _ask(channel, "served")
        except (Broken, OSError):
            # Whether it heard us is not known. Two that serve do less harm than none.
            if await _is_serving(place):
                raise
    except (Broken, OSError, KeyError, TypeError) as error:
        for each in (each for some in sockets.values() for each in some):
            each.close()
        await proxy.stop(drain_seconds=0)
        raise NotTaken(f"the process that serves now could not be taken over: {error}") from None
    except BaseException:
        await proxy.stop(drain_seconds=0)
        raise
    finally:
        channel.close()


async def _ask(channel: Channel, wanted: str) -> tuple[dict[str, Any], list[int]]:
    await asyncio.to_thread(channel.send, {"want": wanted})
    words, descriptors = await asyncio.to_thread(channel.receive)
    if "refused" in words:
        raise Broken(str(words["refused"]))
    return words, descriptors


async def _is_serving(place: Place) -> bool:
    """Whether the other process goes on, and could be taken over once more. It may take a moment
    to notice that a talk is over, and to close its door.
    """
    deadline = time.monotonic() + NOTICE_SECONDS
    while time.monotonic() < deadline:
        try:
            channel = Channel(await asyncio.to_thread(place.connect), TALK_SECONDS)
        except OSError:
            return False
        try:
            _, descriptors = await _ask(channel, "sockets")
        except (Broken, OSError):
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


async def _begin(proxy: Proxy, heads: Heads) -> None:
    """Watch, until all that is served now can be served from here."""
    proxy.build(PREDECESSOR_SECONDS)
    proxy.watch()
    if not await _reach(proxy, heads, READY_SECONDS):
        late = ", ".join(_behind(proxy, heads))
        raise Broken(f"{late} cannot be served from here within {READY_SECONDS:g} s, and is there")


async def _reach(proxy: Proxy, heads: Heads, seconds: float) -> bool:
    """Wait until every chain of ours has got to the head that was told; whether in time."""
    deadline = time.monotonic() + seconds
    while _behind(proxy, heads):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True


def _behind(proxy: Proxy, heads: Heads) -> list[str]:
    ours = heads_of(proxy)
    return [name for name in proxy.chains if ours.get(name, -1) < heads.get(name, -1)]


# --------------------------------------------------------------------------
# Whoever serves


class Offer:
    """See the module's docstring. ``on_taken`` is called once, when another process serves, which
    ``is_taken`` says from then on.
    """

    def __init__(self, proxy: Proxy, on_taken: Callable[[], object]) -> None:
        self._proxy = proxy
        self._on_taken = on_taken
        self._place: Place | None = None
        self._identity: tuple[int, int] | None = None
        self._listening: socket.socket | None = None
        self._talk: asyncio.Task[None] | None = None
        self.is_taken = False

    def start(self) -> None:
        """Listen for a successor; where that cannot be, it is logged."""
        self._place = place_of(self._proxy.config)
        if self._place is None:
            return
        try:
            self._listening = self._place.listen()
        except OSError as error:
            words = f"{self._place.path}: {error.strerror or error}"
            event(_log, logging.WARNING, "takeover", "cannot be taken over", reason=words)
            return
        self._identity = self._place.identity()
        self._listening.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listening.fileno(), self._on_knock)

    async def close(self) -> None:
        """Idempotent. What a successor put in our place stays."""
        if self._listening is not None and self._place is not None:
            asyncio.get_running_loop().remove_reader(self._listening.fileno())
            # While ours is open, no other file has its number.
            if not self.is_taken and self._place.identity() == self._identity:
                self._place.path.unlink(missing_ok=True)
            self._listening.close()
            self._listening = None
        await tasks.stop(self._talk)

    @property
    def _is_talking(self) -> bool:
        return self._talk is not None and not self._talk.done()

    def _on_knock(self) -> None:
        assert self._listening is not None  # noqa: S101  the reader is removed with it
        with contextlib.suppress(OSError):
            peer, _ = self._listening.accept()
            if self.is_taken or self._is_talking or not is_own_peer(peer):
                peer.close()
                return
            channel = Channel(peer, READY_SECONDS + TALK_SECONDS)
            self._talk = tasks.start(self._serve(channel), "takeover")

    async def _serve(self, channel: Channel) -> None:
        is_paused = False
        try:
            await self._expect(channel, "sockets")
            await self._hand_sockets(channel)
            await self._expect(channel, "ports")
            is_paused = True
            await self._pause()
            await asyncio.to_thread(channel.send, {"heads": heads_of(self._proxy)})
            await self._expect(channel, "served")
            self.is_taken = True
            await asyncio.to_thread(channel.send, {"ok": True})
        except (Broken, OSError) as error:
            if not self.is_taken:
                words = "another process began to take over, and left"
                event(_log, logging.WARNING, "takeover", words, reason=str(error))
        finally:
            channel.close()
            if is_paused and not self.is_taken:
                await self._resume()
        if self.is_taken:
            self._on_taken()

    @staticmethod
    async def _expect(channel: Channel, wanted: str) -> None:
        words, descriptors = await asyncio.to_thread(channel.receive)
        for descriptor in descriptors:
            os.close(descriptor)
        if words.get("want") != wanted:
            await asyncio.to_thread(channel.send, {"refused": f"{wanted} was expected"})
            raise Broken(f"it wants {words.get('want')!r}, and {wanted} was expected")

    async def _hand_sockets(self, channel: Channel) -> None:
        listener, admin = self._proxy.listener, self._proxy.admin
        pairs = [(WALLET, each) for each in (listener.sockets() if listener is not None else ())]
        pairs += [(ADMIN, each) for each in (admin.sockets() if admin is not None else ())]
        words = {"sockets": [name for name, _ in pairs], "heads": heads_of(self._proxy)}
        try:
            await asyncio.to_thread(channel.send, words, [each.fileno() for _, each in pairs])
        finally:
            for _, each in pairs:
                each.close()

    async def _pause(self) -> None:
        if self._proxy.listener is not None:
            self._proxy.listener.pause()
        if self._proxy.admin is not None:
            await self._proxy.admin.pause()

    async def _resume(self) -> None:
        if self._proxy.listener is not None:
            await self._proxy.listener.resume()
        if self._proxy.admin is not None:
            await self._proxy.admin.resume()
