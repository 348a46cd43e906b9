"""Why a port cannot be had, in words."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rpcproxy.app.process.port_holder import PortHolder, free_port_near, holder_of
from rpcproxy.config.model import Address, Server

T = TypeVar("T")


async def worded(start: Awaitable[T], address: Address) -> T:
    """Await ``start``; an ``OSError`` learns which address it was about."""
    try:
        return await start
    except OSError as error:
        error.filename = f"{address.host}:{address.port}"
        raise


def explain_port(
    error: OSError,
    remedy: str = "choose another port",
    holder: PortHolder = PortHolder(),  # noqa: B008 -- immutable
) -> str:
    """What ``Proxy.start`` raised, as a sentence; ``remedy`` is what the user can do about it."""
    if error.errno == errno.EADDRINUSE:
        return f"{error.filename} is in use by {holder}: stop that one, or {remedy}"
    if error.errno == errno.EACCES:
        return f"{error.filename} may not be opened by this user: {remedy}, from 1024 on"
    return f"cannot listen on {error.filename}: {error.strerror or error}"


def explain_refusal(
    error: OSError,
    server: Server,
    choose: Callable[[str, str], str],
    questions: Sequence[bytes] = (),
) -> str:
    """As ``explain_port``, having looked who has it of the server's ports. ``choose``: how to take
    another one, of which it is given the key, ``listen`` or ``admin``, and ``HOST:PORT`` that is
    free, ``HOST:PORT`` in words where none is found. ``questions`` are those of ``holder_of``.
    Blocks, two seconds at most.
    """
    key, address = "listen", server.listen
    admin = server.admin
    if admin is not None and error.filename == f"{admin.host}:{admin.port}":
        key, address = "admin", admin
    host = f"[{address.host}]" if ":" in address.host else address.host
    free = free_port_near(address.host, address.port)
    remedy = choose(key, f"{host}:{'PORT' if free is None else free}")
    if error.errno != errno.EADDRINUSE:
        return explain_port(error, remedy)
    return explain_port(error, remedy, holder_of(address.host, address.port, questions))
