"""What a process needs before it serves: files, certificates."""

from __future__ import annotations

import contextlib
import os
import resource
import ssl
from typing import Final

from rpcproxy.config.model import Server
from rpcproxy.config.problems import ConfigError


def raise_file_limit() -> None:
    """Every client and upstream connection is an open file: take as many as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# Streams, the loop's own, listening sockets, the history, names being looked up, operators.
_OWN_FILES: Final = 20
_CHAIN_FILES: Final = 3  # a journal with its two companions
_UPSTREAM_FILES: Final = 2  # warm, and a feed


def room_for_clients(chains: int, upstreams: int) -> int | None:
    """How many connections of clients there are files for: half of what is left when journals,
    logs and operators have theirs, so that each has one towards an upstream. ``None``: any number.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    kept = _OWN_FILES + _CHAIN_FILES * chains + _UPSTREAM_FILES * upstreams
    return max(4, (soft - kept) // 2)


def check_certificate(server: Server) -> None:
    """Raise ``ConfigError`` in words where clients could not be served over TLS."""
    tls = server.tls
    if tls is None:
        return
    for key, path in (("certificate", tls.certificate), ("key", tls.key)):
        if not os.access(path, os.R_OK):
            raise ConfigError([f"server.tls.{key}: {path} is not there or cannot be read"])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
    except (ssl.SSLError, OSError) as error:
        words = getattr(error, "reason", None) or error
        raise ConfigError(
            [f"server.tls: {tls.certificate} and {tls.key} do not fit together: {words}"]
        ) from None
