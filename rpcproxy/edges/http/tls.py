"""TLS towards upstreams: a non-blocking ``SSLSocket`` driven by the loop's readers.

OpenSSL reads and writes the socket itself. Against uvloop's own TLS, which copies every byte
through memory BIOs, this saves about half of the CPU of a forwarded request. Without
read-ahead, which Python never turns on, OpenSSL takes exactly one record off the socket at a
time: as long as ``pending()`` is 0 the loop announces whatever is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Callable
from typing import Final

from rpcproxy.edges.http.links import Link, LinkOwner, Loss

# One record holds at most this much (RFC 8446 section 5.1).
RECORD_BYTES: Final = 16 * 1024
# So many records are read before other connections get their turn.
RECORDS_PER_TURN: Final = 16
# SSL_OP_IGNORE_UNEXPECTED_EOF of openssl/ssl.h: some builds of Python set it, not all name it.
OP_IGNORE_UNEXPECTED_EOF: Final = 1 << 7


@functools.cache
def default_context() -> ssl.SSLContext:
    """The system's authorities; one for all upstreams, since loading them takes long."""
    return prepare(ssl.create_default_context())


def prepare(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a context fit for upstreams, in place: TLS 1.2 or newer, HTTP/1.1 alone, and an
    end without close_notify told apart, which OpenSSL can be told to ignore.
    """
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    context.options &= ~OP_IGNORE_UNEXPECTED_EOF
    return context


class Handshake:
    """Drives one handshake. Exactly one of the two callbacks is called, unless cancelled.

    ``sock`` is connected and non-blocking and belongs to the handshake until ``on_done`` gets
    the ``SSLSocket``. ``on_failed`` gets words for people. An address as ``host`` is verified
    against the certificate's addresses and not sent as a name (Python leaves SNI out).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: ssl.SSLSocket,
        on_done: Callable[[ssl.SSLSocket], None],
        on_failed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._on_done = on_done
        self._on_failed = on_failed
        self._is_over = False
        # The client speaks first, and a fresh socket takes it.
        loop.add_writer(self._fd, self._step)

    def cancel(self) -> None:
        if not self._is_over:
            self._let_go()
            self._sock.close()

    def _step(self) -> None:
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self._loop.remove_writer(self._fd)
            self._loop.add_reader(self._fd, self._step)
        except ssl.SSLWantWriteError:
            self._loop.remove_reader(self._fd)
            self._loop.add_writer(self._fd, self._step)
        except (OSError, ValueError) as error:
            self.cancel()
            self._on_failed(_in_words(error))
        else:
            self._let_go()
            self._on_done(self._sock)

    def _let_go(self) -> None:
        self._is_over = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)


def _in_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "closed in the handshake"
    reason = getattr(error, "reason", None)
    return f"handshake failed: {reason.lower().replace('_', ' ')}" if reason else "handshake failed"


class TlsLink(Link):
    """A link over TLS, after its handshake. ``sock`` was made with
    ``suppress_ragged_eofs=False``, so that a cut is told from an end.
    """

    __slots__ = ("_pending", "_read_wants_write", "_tls", "_write_wants_read")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: ssl.SSLSocket, owner: LinkOwner
    ) -> None:
        self._tls = sock
        self._pending = sock.pending
        self._read_wants_write = False
        self._write_wants_read = False
        super().__init__(loop, sock, owner)

    @property
    def session(self) -> ssl.SSLSession | None:
        """What resumes this session later. Under TLS 1.3 it comes after the handshake."""
        if not self.is_open:
            return None
        session = self._tls.session
        return session if session is not None and session.has_ticket else None

    def write(self, data: bytes) -> None:
        try:
            sent = self._send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            sent = 0
        except OSError:
            self._stop_sending()
            return
        if sent != len(data):
            # One call takes at most one record.
            self.unsent = memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._on_writable)
            self._send_unsent()

    def resume(self) -> None:
        super().resume()
        if self.is_open and self._pending():
            self._loop.call_soon(self._on_readable)

    def close(self) -> None:
        if self.is_open:
            # Tells close_notify and does not wait for the peer's.
            with contextlib.suppress(OSError, ValueError):
                self._tls.unwrap()
        super().close()

    def _on_readable(self) -> None:
        if self._write_wants_read and self._is_reading:
            self._write_wants_read = False
            self._loop.add_writer(self._fd, self._on_writable)
        for _ in range(RECORDS_PER_TURN):
            if not self._is_reading:
                return
            try:
                data = self._recv(RECORD_BYTES)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLWantWriteError:
                self._read_wants_write = True
                self._loop.add_writer(self._fd, self._on_writable)
                return
            except ssl.SSLEOFError:
                self._lose(Loss.CUT)
                return
            except OSError:
                self._lose(Loss.RESET)
                return
            if not data:
                self._lose(Loss.END)
                return
            if not self._owner.on_bytes(data) and not (self.is_open and self._pending()):
                return
        if self._pending():
            self._loop.call_soon(self._on_readable)

    def _on_writable(self) -> None:
        if self._read_wants_write:
            self._read_wants_write = False
            if self.unsent is None:
                self._loop.remove_writer(self._fd)
            self._on_readable()
        if self.unsent is not None:
            self._send_unsent()

    def _send_unsent(self) -> None:
        while (unsent := self.unsent) is not None:
            try:
                sent = self._send(unsent)
            except ssl.SSLWantWriteError:
                return
            except ssl.SSLWantReadError:
                # Written on once the peer's handshake message has been read.
                self._write_wants_read = True
                if not self._read_wants_write:
                    self._loop.remove_writer(self._fd)
                return
            except OSError:
                self._stop_sending()
                return
            if sent == len(unsent):
                self.unsent = None
                if not self._read_wants_write:
                    self._loop.remove_writer(self._fd)
            else:
                self.unsent = unsent[sent:]
