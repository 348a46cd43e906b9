"""Keys that a reload leaves as they are: they are named while they differ from what is in force."""

from __future__ import annotations

from typing import Any

import pytest

from rpcproxy.app.proxy import FIXED_KEYS, Proxy
from rpcproxy.config.model import Address, Chain, Config, History, Server, Tls, Upstream

ANOTHER: dict[str, Any] = {
    "admin": Address(host="127.0.0.1", port=1),
    "history": History(is_on=False),
    "listen": Address(host="127.0.0.1", port=1),
    "log": "json",
    "tls": Tls(certificate="a.pem", key="a.key"),
    "traces": "http://127.0.0.1:4318",
}


def configuration(**server: Any) -> Config:
    upstream = Upstream(name="a", provider="a", url="http://127.0.0.1:9/a")
    chain = Chain(name="test", chain_id=7, upstreams=(upstream,))
    return Config(server=Server(**server), chains=(chain,))


@pytest.mark.parametrize("key", FIXED_KEYS)
async def test_a_value_that_is_put_back_is_in_force_again(key: str) -> None:
    proxy = Proxy(configuration())
    proxy._build(proxy.config)  # no sockets, no probes
    told: list[str] = []
    proxy.reload_listeners.append(lambda _is_accepted, words: told.append(words))
    try:
        for server in ({key: ANOTHER[key]}, {key: ANOTHER[key], "gzip": False}, {}):
            proxy.reload(configuration(**server))
    finally:
        await proxy.stop(drain_seconds=0)
    later = f"taken over; server.{key} take effect at the next start"
    assert told == [later, later, "taken over"]
