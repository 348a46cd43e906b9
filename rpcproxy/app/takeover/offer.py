"""How whoever serves is taken over: it listens for a successor, and talks as
``app.takeover.takeover`` says.

State: ``Offer`` has the Unix socket and the talk under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from rpcproxy.app.proxy import Proxy
from rpcproxy.app.takeover.handover import (
    Plans,
    heads_of,
    journals_of,
    lost_by,
    order_notes_of,
    orders_of,
    plans_in,
)
from rpcproxy.app.takeover.takeover import USUAL_TIMES, TakeoverTimes, places_named
from rpcproxy.edges.logs import event
from rpcproxy.edges.process.given_sockets import (
    ADMIN,
    WALLET,
    Broken,
    Channel,
    SocketPath,
    is_own_peer,
)
from rpcproxy.engine import tasks

_log = logging.getLogger("rpcproxy.app")

_BUSY: Final = "another process is taking over at this moment"


class Offer:
    """See the module's docstring. ``on_taken`` is called once, when another process serves, which
    ``is_taken`` says from then on.
    """

    def __init__(
        self, proxy: Proxy, on_taken: Callable[[], object], times: TakeoverTimes = USUAL_TIMES
    ) -> None:
        self._proxy = proxy
        self._times = times
        self._on_taken = on_taken
        self._place: SocketPath | None = None
        self._identity: tuple[int, int] | None = None
        self._listening: socket.socket | None = None
        self._talk: asyncio.Task[None] | None = None
        self._channel: Channel | None = None  # of the talk
        self.is_taken = False

    def start(self) -> None:
        """Listen for a successor; where that cannot be, it is logged."""
        self._place = self._bound_place()
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

    def _bound_place(self) -> SocketPath | None:
        """``None`` where nobody could know the port."""
        listener = self._proxy.listener
        if listener is None or not self._proxy.config.server.listen.port:
            return None
        bound = []
        for each in listener.sockets():
            bound.append(each.getsockname()[:2])
            each.close()
        return next(iter(places_named(bound)), None)

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
        if self._channel is not None:
            self._channel.close()  # a talk that was stopped before its first step did not

    @property
    def _is_talking(self) -> bool:
        return self._talk is not None and not self._talk.done()

    def _on_knock(self) -> None:
        assert self._listening is not None  # noqa: S101  the reader is removed with it
        with contextlib.suppress(OSError):
            peer, _ = self._listening.accept()
            if self.is_taken or self._is_talking or not is_own_peer(peer):
                self._turn_away(peer)
                return
            self._channel = Channel(peer, self._times.talk_seconds)
            self._talk = tasks.start(self._serve(self._channel), "takeover")

    def _turn_away(self, peer: socket.socket) -> None:
        """With a word, where it may come back. The room of a new socket is enough for that."""
        with peer:
            if self._is_talking and is_own_peer(peer):
                Channel(peer, 0.0).send({"refused": _BUSY, "busy": True})

    async def _serve(self, channel: Channel) -> None:
        is_paused, times = False, self._times
        try:
            plans = plans_in(await self._expect(channel, "sockets", times.talk_seconds))
            await self._refuse_loss(channel, plans)
            await self._hand_sockets(channel)
            await self._expect(channel, "ports", times.ready_seconds + times.talk_seconds)
            is_paused = True
            await self._pause()
            await self._refuse_loss(channel, plans)
            await asyncio.to_thread(channel.send, self._told())
            await self._expect(channel, "served", times.served_seconds)
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
    async def _expect(channel: Channel, wanted: str, seconds: float) -> dict[str, Any]:
        words, descriptors = await asyncio.to_thread(channel.receive, seconds)
        for descriptor in descriptors:
            os.close(descriptor)
        if words.get("want") != wanted:
            await asyncio.to_thread(channel.send, {"refused": f"{wanted} was expected"})
            raise Broken(f"it wants {words.get('want')!r}, and {wanted} was expected")
        return words

    async def _refuse_loss(self, channel: Channel, plans: Plans) -> None:
        lost = lost_by(self._proxy, plans)
        if lost:
            await asyncio.to_thread(channel.send, {"refused": lost})
            raise Broken(f"it was refused: {lost}")

    def _told(self) -> dict[str, object]:
        return {
            "heads": heads_of(self._proxy),
            "orders": orders_of(self._proxy),
            "order_notes": order_notes_of(self._proxy),
            "journals": journals_of(self._proxy),
        }

    async def _hand_sockets(self, channel: Channel) -> None:
        listener, admin = self._proxy.listener, self._proxy.admin
        pairs = [(WALLET, each) for each in (listener.sockets() if listener is not None else ())]
        pairs += [(ADMIN, each) for each in (admin.sockets() if admin is not None else ())]
        words = {"sockets": [name for name, _ in pairs], **self._told()}
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
