"""Which outbound proxy leads to a URL: an upstream's own, or the environment's. Pure.

The environment is read as curl and Go's net/http do: ``HTTPS_PROXY`` for https and wss,
``HTTP_PROXY`` for http and ws, else ``ALL_PROXY``, capitals or not, where ``NO_PROXY`` does not
name the host. As with Go, what is on this machine is never reached through the environment's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from rpcproxy.config.model import Config, Upstream
from rpcproxy.config.problems import Unfit
from rpcproxy.config.urls import check, is_loopback

SCHEMES: Final = ("http", "socks5", "socks5h")
DIRECT: Final = "direct"
_VARIABLES: Final = {
    "https": ("HTTPS_PROXY", "ALL_PROXY"),
    "wss": ("HTTPS_PROXY", "ALL_PROXY"),
    "http": ("HTTP_PROXY", "ALL_PROXY"),
    "ws": ("HTTP_PROXY", "ALL_PROXY"),
}
Model = TypeVar("Model", bound=BaseModel)
_PORTS: Final = {"https": 443, "wss": 443, "http": 80, "ws": 80}


def through(config: Config, environ: Mapping[str, str]) -> Config:
    """The configuration with the proxy of each upstream and webhook that names none of its own.

    Raises ``Unfit`` for a variable that is needed and cannot be used, without its value.
    """
    chains = tuple(
        chain.model_copy(
            update={
                "upstreams": tuple(_upstream_through(each, environ) for each in chain.upstreams)
            }
        )
        for chain in config.chains
    )
    notify = tuple(
        _with(notice, proxy=from_environment(notice.url, environ)) for notice in config.notify
    )
    return config.model_copy(update={"chains": chains, "notify": notify})


def _upstream_through(upstream: Upstream, environ: Mapping[str, str]) -> Upstream:
    if upstream.proxy is not None:
        return upstream
    ws_url = upstream.ws_url
    return _with(
        upstream,
        proxy=from_environment(upstream.url, environ),
        ws_proxy=None if ws_url is None else from_environment(ws_url, environ),
    )


def _with(model: Model, **values: object) -> Model:
    return model.model_copy(update=values)


def from_environment(url: str, environ: Mapping[str, str]) -> str:
    """The environment's proxy for this URL, ``direct`` where there is none."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if is_loopback(host) or _is_exempt(host, parts.port or _PORTS[parts.scheme], environ):
        return DIRECT
    for name in _VARIABLES[parts.scheme]:
        for spelling in (name.lower(), name):
            value = environ.get(spelling, "").strip()
            if value:
                return checked(value, spelling)
    return DIRECT


def checked(text: str, name: str) -> str:
    """A variable's value; a bare ``host:port`` is an http proxy. Raises ``Unfit``."""
    value = text if "://" in text else f"http://{text}"
    try:
        check(value, "", SCHEMES)
    except Unfit as unfit:
        raise Unfit(f"{name} in the environment {unfit.wrong}", unfit.expected) from None
    return value


def _is_exempt(host: str, port: int, environ: Mapping[str, str]) -> bool:
    listed = environ.get("no_proxy", "") or environ.get("NO_PROXY", "")
    return any(_names(entry.strip().lower(), host.lower(), port) for entry in listed.split(","))


def _names(entry: str, host: str, port: int) -> bool:
    """Whether an entry of ``NO_PROXY`` names the host: ``*``, a network, an address, a name with
    all below it, any of them with a port.
    """
    if entry == "*":
        return True
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and ("]" in name or ":" not in name):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").removeprefix(".").rstrip(".")
    if not entry:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except (ValueError, TypeError):
        return host == entry or host.endswith(f".{entry}")


def ws_proxy_of(upstream: Upstream) -> str:
    """The proxy that leads to ``ws_url``; empty or ``direct`` for none."""
    return upstream.ws_proxy or upstream.proxy or ""


def shown(proxy: str | None) -> str:
    """``host:port`` of a proxy, all that may be shown; empty where the way is direct."""
    if proxy in (None, DIRECT):
        return ""
    parts = urlsplit(proxy or "")
    host = parts.hostname or ""
    port = parts.port or default_port(parts.scheme)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def default_port(scheme: str) -> int:
    """Where a proxy listens that names no port, as Go has it."""
    return 80 if scheme == "http" else 1080
