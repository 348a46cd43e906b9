"""What a URL says about an upstream, and what is wrong with one, without its secrets.

Path, query, user and password of a URL are secret. Scheme and host are shown, unless they came
out of the environment or a misplaced sign makes it doubtful where the host begins.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from rpcproxy.config.problems import Unfit, listed, nearest

_PORTS: Final = {
    "http": 80,
    "https": 443,
    "ws": 80,
    "wss": 443,
    "socks5": 1080,
    "socks5h": 1080,  # outbound proxies
}
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# A lost colon or slash: http//x, http:/x, https:x.
_TORN: Final = re.compile(r"(https?|wss?)(?::/?|//?)(?!/)", re.IGNORECASE)
_BARE_HOST: Final = re.compile(
    r"((?:[A-Za-z0-9_-]+\.)+[A-Za-z]{2,12}|(localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}))(?=[:/?#]|$)"
)
# One word without a dot may be a key or a user's name.
_SHOWABLE: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.+[A-Za-z0-9_-]+)+|localhost|\[[0-9a-fA-F:.]+\]")
# Underscores are no host names, but container networks use them.
_HOST: Final = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*"
    r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?"
)
_NUMERIC: Final = re.compile(r"[0-9.]+|0x[0-9a-f.x]*")

# Names that belong to this machine or network: each is a fault domain of its own.
_LOCAL_ENDS: Final = (
    *(".localhost", ".local", ".internal", ".lan", ".test", ".example", ".invalid"),
    *(".svc", ".home.arpa", ".intranet", ".corp", ".home"),
)
# Under these the company is one label further left: the usual country registries, and hosting
# platforms where every customer has a name (a short form of publicsuffix.org).
_SUFFIXES: Final = frozenset(
    {
        *("co.uk", "org.uk", "com.au", "net.au", "co.nz", "co.jp", "ne.jp", "or.jp", "co.kr"),
        *("com.br", "com.cn", "com.hk", "com.sg", "com.tr", "com.tw", "com.ua", "com.mx"),
        *("co.in", "co.il", "co.za", "co.id", "co.th", "com.ar", "com.my", "com.vn", "com.ng"),
        *("workers.dev", "pages.dev", "fly.dev", "herokuapp.com", "onrender.com", "vercel.app"),
        *("netlify.app", "ngrok.io", "ngrok.app", "ngrok-free.app", "trycloudflare.com"),
        *("azurewebsites.net", "a.run.app", "up.railway.app", "web.app"),
    }
)
# Hosts whose company is known under another name.
_COMPANIES: Final = {"quiknode": "quicknode", "llamarpc": "llamanodes"}


@dataclass(frozen=True, slots=True)
class UrlTarget:
    """Where a URL leads. ``host`` is lower case, IPv6 without brackets."""

    scheme: str
    host: str
    port: int


def check(text: str, written: str, schemes: tuple[str, ...]) -> UrlTarget:
    """``text`` taken apart; ``written`` is the form before the environment was filled in.

    Raises ``Unfit`` with a message that shows what is wrong and no secret.
    """
    expected = f"{listed(f'{scheme}://' for scheme in schemes)} and a host"
    if not text:
        raise Unfit("is empty", expected)
    if re.search(r"\s", text):
        raise Unfit("has a space in it", f"{expected}, spaces written as %20")
    if not text.isprintable():
        raise Unfit("has a character that cannot be printed", expected)
    scheme = _scheme(text, written, schemes, expected)
    netloc, rest = _halves(text, scheme)
    told = _told(scheme, netloc, rest, written)
    if not netloc.rpartition("@")[2] or netloc.rpartition("@")[2].startswith(":"):
        raise Unfit(f"has no host after {scheme}://", expected)
    if "#" in rest:
        raise Unfit(f"({told}) has a # in it, which is never sent", "%23 where a # is meant")
    if "\\" in rest:
        raise Unfit(f"({told}) has a backslash in it", "slashes")
    return _place(text, scheme.lower(), told)


def guess_provider(place: UrlTarget) -> str:
    """The company behind a host: the registrable domain's own label; ``host:port`` where the
    host is an address or a local name, so that local upstreams are distinct fault domains.
    """
    if _is_local(place.host):
        host = f"[{place.host}]" if ":" in place.host else place.host
        return f"{host}:{place.port}"
    labels = place.host.rstrip(".").split(".")
    for size in (3, 2):
        if len(labels) > size and ".".join(labels[-size:]) in _SUFFIXES:
            return labels[-size - 1]
    return _COMPANIES.get(labels[-2], labels[-2])


def is_host(text: str) -> bool:
    """A host name or a literal address, IPv6 without brackets."""
    host = text.lower()
    if ":" in host or _NUMERIC.fullmatch(host):
        return _is_address(host)
    return _HOST.fullmatch(host) is not None


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach it. Of names, ``localhost`` alone."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _scheme(text: str, written: str, schemes: tuple[str, ...], expected: str) -> str:
    found = _SCHEME.match(text)
    if found and text[found.end() :].startswith("//"):
        scheme = found[1]
        if scheme.lower() in schemes:
            return scheme
        told = _told(scheme, *_halves(text, scheme), written)
        if scheme.lower() in ("ws", "wss"):
            raise Unfit(f"({told}) is no HTTP", f"{expected}; a WebSocket address goes to ws_url")
        meant = nearest(scheme, schemes)
        raise Unfit(f"({told}) has a wrong scheme", expected, meant and f"{meant}://")
    torn = _TORN.match(text)
    if torn:
        shown = torn[0] if written.startswith(torn[0]) else torn[1]
        raise Unfit(f"begins with '{shown}'", expected, meant=f"{torn[1].lower()}://")
    bare = _BARE_HOST.match(text)
    if bare and "@" not in text and written.startswith(bare[0]):
        scheme = schemes[-1] if bare[2] else schemes[0]
        wrong = f"has no scheme before '{bare[0]}'"
        raise Unfit(wrong, expected, meant=f"{scheme}://{bare[0]}")
    raise Unfit("does not begin with a scheme", expected)


def _halves(text: str, scheme: str) -> tuple[str, str]:
    """User, host and port; and what follows them."""
    after = text[len(scheme) + 3 :]
    netloc = re.split(r"[/?#\\]", after, maxsplit=1)[0]
    return netloc, after[len(netloc) :]


def _told(scheme: str, netloc: str, rest: str, written: str) -> str:
    """What may be shown: no host where it may be a user's name, since a slash in a password cuts
    the URL short (an ``@`` further on, a port that is no number).
    """
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        host = host[: host.find("]") + 1]
    else:
        host, _, port = host.partition(":")
        host = host if not port or port.isdecimal() else ""
    if scheme not in written or len(scheme) > 12:
        scheme = "…"
    if "@" in rest or not _SHOWABLE.fullmatch(host) or host not in written:
        return f"{scheme}://…"
    return f"{scheme}://{host}"


def _place(text: str, scheme: str, told: str) -> UrlTarget:
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        raise Unfit(f"({told}) has a malformed host", "a name or an address") from None
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or parts.netloc.endswith(":"):
        hint = "; a / ? # or @ in a password is written %2F %3F %23 %40" if "@" in text else ""
        raise Unfit(f"({told}) has a bad port", f"a number from 1 to 65535{hint}")
    if not host.isascii():
        raise Unfit(f"({told}) has a host beyond ASCII", "its form that begins with xn--")
    if not is_host(host):
        raise Unfit(f"({told}) has a malformed host", "a name or an address")
    return UrlTarget(scheme, host, _PORTS[scheme] if port is None else port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    host = host.rstrip(".")
    return "." not in host or _is_address(host) or host.endswith(_LOCAL_ENDS)
