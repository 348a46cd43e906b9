"""What a process needs before it serves: streams, files, certificates."""

from __future__ import annotations

import contextlib
import os
import resource
import ssl

from rpcproxy.config.model import Server
from rpcproxy.config.problems import ConfigError


def open_standard_streams() -> None:
    """Started with a standard stream closed (``>&-``), the next file opened would take its
    place, and libuv ends the process when a pipe does.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def raise_file_limit() -> None:
    """Every client and upstream connection is an open file: take as many as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
