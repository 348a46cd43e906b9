"""config.differences: what a reload changes, in words, and no secret."""

from __future__ import annotations

from typing import Any

from rpcproxy.config.differences import differences
from rpcproxy.config.model import Address, Chain, Config, Limits, Notice, Server, Upstream

SECRET = "s3cr3t-k3y"


def an_upstream(name: str, **fields: Any) -> Upstream:
    return Upstream(**{"name": name, "url": f"https://{name}.invalid", "provider": name, **fields})


def a_config(*upstreams: Upstream, server: dict[str, Any] | None = None, **fields: Any) -> Config:
    upstreams = upstreams or (an_upstream("a"), an_upstream("b"))
    chain = Chain(**{"name": "ethereum", "chain_id": 1, "upstreams": upstreams, **fields})
    return Config(server=Server(**(server or {})), chains=(chain,))


def test_nothing_changed() -> None:
    assert differences(a_config(), a_config()) == []


def test_what_came_and_went() -> None:
    after = a_config(an_upstream("b"), an_upstream("c"))
    base = Chain(name="base", chain_id=8453, upstreams=(an_upstream("a"),))
    after = after.model_copy(update={"chains": (*after.chains, base)})
    assert differences(a_config(), after) == [
        "chain base added",
        "ethereum: upstream c added",
        "ethereum: upstream a removed",
    ]
    assert differences(after, a_config())[0] == "chain base removed"


def test_keys_are_named_as_they_are_written() -> None:
    after = a_config(
        an_upstream("a", weight=2.0, tier="backup", rate_limit_per_second=25.0),
        an_upstream("b"),
        server={
            "drain_seconds": 3.0,
            "gzip": False,
            "limits": Limits(body_bytes=7),
            "listen": Address(host="127.0.0.1", port=1),
            "status_page": "/status",
        },
        max_lag_blocks=5,
    )
    assert differences(a_config(), after) == [
        "server.listen 127.0.0.1:8545 -> 127.0.0.1:1",
        "server.gzip yes -> no",
        "server.drain 10.0 -> 3.0",
        "server.limits.body_size 5242880 -> 7",
        "server.status_page none -> /status",
        "ethereum: max_lag 2 -> 5",
        "ethereum: upstream a: tier primary -> backup",
        "ethereum: upstream a: rate_limit none -> 25.0",
        "ethereum: upstream a: weight 1.0 -> 2.0",
    ]


def test_another_order() -> None:
    after = a_config(an_upstream("b"), an_upstream("a"))
    assert differences(a_config(), after) == ["ethereum: its upstreams are in another order"]


def test_no_secret_is_told() -> None:
    url = f"https://x.invalid/{SECRET}"
    keyed = an_upstream(
        "a",
        url=url,
        ws_url=url,
        headers={"x": SECRET},
        proxy=f"http://u:{SECRET}@h",
    )
    after = a_config(keyed, an_upstream("b"), server={"admin_token": SECRET, "traces": url})
    after = after.model_copy(update={"notify": (Notice(url=url),)})
    words = "; ".join(differences(a_config(), after))
    assert SECRET not in words
    for part in ("server.admin_token changed", "upstream a: url changed", "notify changed"):
        assert part in words
    assert "upstream a: headers changed" in words
