"""Files that load: what each key becomes, what is filled in, what is warned of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from rpcproxy.app.storage.state_place import StatePlace
from rpcproxy.app.storage.transaction_journal import SendSettings
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_file, load_text
from rpcproxy.config.model import Address, Cache, Config, ErrorPhrase, Journal, Tls
from rpcproxy.messages import Verdict

TWO = "\n    upstreams: [https://a.com/1, https://b.com/2]\n"
SHORTEST = f"chains:\n  - name: ethereum{TWO}"
EXAMPLE = Path(__file__).parents[3] / "config" / "example.yaml"


def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load_text(text, file="f.yaml", known=KNOWN, environ=environ or {})


def server_of(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load(f"{text}\nchains:\n  - name: ethereum{TWO}", environ)


def chain_of(keys: str, environ: Mapping[str, str] | None = None) -> Config:
    return load(f"chains:\n  - name: ethereum\n    {keys}{TWO}", environ)


def upstream_of(keys: str, environ: Mapping[str, str] | None = None) -> Config:
    return load(
        f"chains:\n  - name: ethereum\n    upstreams:\n      - https://b.com\n"
        f"      - url: https://a.com/1\n        {keys}\n",
        environ,
    )


def test_the_shortest_file() -> None:
    config = load(f"chains:\n  - name: ethereum{TWO}")
    assert config.warnings == ()
    assert config.server.listen == Address(host="127.0.0.1", port=8545)
    (chain,) = config.chains
    assert (chain.name, chain.kind, chain.chain_id) == ("ethereum", "evm", 1)
    assert (chain.block_time_seconds, chain.max_lag_blocks) == (12.0, 1)
    assert [(u.name, u.url, u.provider, u.provider_guessed) for u in chain.upstreams] == [
        ("a", "https://a.com/1", "a", True),
        ("b", "https://b.com/2", "b", True),
    ]
    assert {u.cloud for u in chain.upstreams} == {u.region for u in chain.upstreams} == {"unknown"}


def test_the_example_loads_without_a_warning() -> None:
    config = load_file(EXAMPLE, KNOWN, {"INFURA_KEY": "k3y"})
    assert config.warnings == ()
    assert [chain.name for chain in config.chains] == ["ethereum", "base", "devnet"]
    bare = load(f"chains:\n  - name: ethereum{TWO}")
    assert config.server == bare.server, "the example shows the defaults"
    ethereum, same = config.chains[0], bare.chains[0]
    assert (same.genesis_guessed, ethereum.genesis_guessed) == (True, False)
    assert ethereum.model_copy(update={"upstreams": ()}) == same.model_copy(
        update={"upstreams": (), "genesis_guessed": False}
    )
    infura = ethereum.upstreams[2]
    assert infura.url == "https://mainnet.infura.io/v3/k3y"
    assert infura.rate_limit_per_second == 100.0
    assert config.chains[2].hedge == "off"


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("server: {listen: 0.0.0.0:80}", "listen", Address(host="0.0.0.0", port=80)),
        ("server: {listen: 'localhost:0'}", "listen", Address(host="localhost", port=0)),
        ("server: {listen: '[::1]:8545'}", "listen", Address(host="::1", port=8545)),
        ("server: {admin: off}", "admin", None),
        ("server: {admin: no}", "admin", None),
        ("server: {admin: 'off'}", "admin", None),
        ("server: {admin: on}", "admin", Address(host="127.0.0.1", port=9545)),
        ("server: {admin: 127.0.0.1:1}", "admin", Address(host="127.0.0.1", port=1)),
        ("server: {tls: {certificate: c, key: k}}", "tls", Tls(certificate="c", key="k")),
        ("server:\n  tls:", "tls", None),
        ("server: {gzip: off}", "gzip", False),
        ("server: {outage_status: 503}", "outage_status", 503),
        ("server: {log: json}", "log", "json"),
        ("server: {drain: 0}", "drain_seconds", 0.0),
        ("server: {drain: 1m}", "drain_seconds", 60.0),
        ("server:", "drain_seconds", 10.0),
        ("server: {cache: off}", "cache", Cache(memory_bytes=0)),
        ("server: {cache: on}", "cache", Cache()),
        ("server:\n  cache:", "cache", Cache()),
        ("server: {cache: {}}", "cache", Cache()),
        ("server: {cache: {memory: 1MB}}", "cache", Cache(memory_bytes=1_000_000)),
        ("server: {cache: {disk: 0, path: here}}", "cache", Cache(path="here")),
        (
            "server: {cache: {memory: 64MiB, disk: 1GiB, path: /var/cache/rpcproxy}}",
            "cache",
            Cache(memory_bytes=2**26, disk_bytes=2**30, path="/var/cache/rpcproxy"),
        ),
    ],
)
def test_server_keys(text: str, attribute: str, value: object) -> None:
    assert getattr(server_of(text).server, attribute) == value


def test_limits() -> None:
    limits = server_of(
        "server: {limits: {header_size: 8KiB, body_size: 1MiB, batch: 7, connections: 9,"
        " header_timeout: 1s, body_timeout: 2s, idle_timeout: 3m}}"
    ).server.limits
    assert (limits.header_bytes, limits.body_bytes) == (8192, 1048576)
    assert (limits.batch, limits.connections) == (7, 9)
    assert (limits.header_seconds, limits.body_seconds, limits.idle_seconds) == (1.0, 2.0, 180.0)


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ("block_time: 2s", "block_time_seconds", 2.0),
        ("max_lag: 0", "max_lag_blocks", 0),
        ("chain_id: 0x1", "chain_id", 1),
        ("selection: ordered", "selection", "ordered"),
        ("attempt_timeout: 800ms", "attempt_timeout_seconds", 0.8),
        ("hedge: auto", "hedge", "auto"),
        ("hedge: off", "hedge", "off"),
        ("hedge: on", "hedge", "auto"),
        ("hedge: 'off'", "hedge", "off"),
        ("hedge: 200ms", "hedge", 0.2),
        ("hedge: ${H}", "hedge", "off"),
        ("max_lag: ${N}", "max_lag_blocks", 7),
        ("kind: evm", "kind", "evm"),
        ("kind: evm", "consistency", "pinned"),
        ("consistency: pinned", "consistency", "pinned"),
        ("consistency: on", "consistency", "pinned"),
        ("consistency: routed", "consistency", "routed"),
        ("consistency: off", "consistency", "off"),
        ("consistency: ${H}", "consistency", "off"),
        ("kind: evm", "audits_per_hour", 0.0),
        ("audit: 60/h", "audits_per_hour", 60.0),
        ("audit: 7/h", "audits_per_hour", 7.0),
        ("audit: 2/min", "audits_per_hour", 120.0),
        ("audit: 0.5/s", "audits_per_hour", 1800.0),
        ("audit: off", "audits_per_hour", 0.0),
        ("audit: 0", "audits_per_hour", 0.0),
        ("kind: evm", "probes_per_second", 4.0),
        ("probes: 1/s", "probes_per_second", 1.0),
        ("probes: 3/min", "probes_per_second", 0.05),
        ("probes: 20/s", "probes_per_second", 20.0),
    ],
)
def test_chain_keys(keys: str, attribute: str, value: object) -> None:
    config = chain_of(keys, {"H": "off", "N": "7\n"})
    assert getattr(config.chains[0], attribute) == value
    assert config.warnings == ()


def test_the_default_budget_of_the_cache() -> None:
    cache = load(f"chains:\n  - name: ethereum{TWO}").server.cache
    assert (cache.memory_bytes, cache.disk_bytes, cache.path) == (134_217_728, 0, None)


@pytest.mark.parametrize(
    ("keys", "consistency"),
    [("name: hyperevm", "routed"), ("name: monad\n    consistency: pinned", "pinned")],
)
def test_how_latest_is_treated_is_known_of_some_chains(keys: str, consistency: str) -> None:
    assert load(f"chains:\n  - {keys}{TWO}").chains[0].consistency == consistency


def test_deadlines_left_out_keep_their_default() -> None:
    deadlines = chain_of("deadlines: {light: 3s}").chains[0].deadlines
    assert (deadlines.light_seconds, deadlines.heavy_seconds, deadlines.send_seconds) == (3, 30, 12)


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ("name: infura-us", "name", "infura-us"),
        ("provider: infura", "provider", "infura"),
        ("provider: infura", "provider_guessed", False),
        ("cloud: aws", "cloud", "aws"),
        ("region: us-east-1", "region", "us-east-1"),
        ("tier: backup", "tier", "backup"),
        ("role: sends", "role", "sends"),
        ("private: true", "private", True),
        ("private: ${YES}", "private", True),
        ("rate_limit: 600/min", "rate_limit_per_second", 10.0),
        ("rate_limit: ${RATE}", "rate_limit_per_second", 5.0),
        ("weight: 2", "weight", 2.0),
        ("weight: ${WEIGHT}", "weight", 0.5),
        (
            "headers: {X-Version: 1, A: 'Bearer ${YES}'}",
            "headers",
            {"X-Version": "1", "A": "Bearer yes"},
        ),
        ("headers:", "headers", {}),
        ("errors:", "errors", ()),
        (
            "errors: [{contains: 'quota gone', class: rate_limited}]",
            "errors",
            (ErrorPhrase(contains="quota gone", verdict="rate_limited"),),
        ),
    ],
)
def test_upstream_keys(keys: str, attribute: str, value: object) -> None:
    environ = {"YES": "yes", "RATE": "5/s", "WEIGHT": "0.5"}
    assert getattr(upstream_of(keys, environ).chains[0].upstreams[1], attribute) == value


def test_error_classes_are_verdicts() -> None:
    config = upstream_of("errors: [{contains: x, class: missing_data}]")
    label = config.chains[0].upstreams[1].errors[0].verdict
    assert label in {verdict.label for verdict in Verdict}


# --------------------------------------------------------------------------
# Environment


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("${KEY}", "k3y"),
        ("x-${KEY}-${KEY}", "x-k3y-k3y"),
        ("${NONE:-some}", "some"),
        ("${EMPTY:-some}", "some"),
        ("${KEY:-some}", "k3y"),
        ("a${NONE:-}b", "ab"),
        ("$${KEY}", "${KEY}"),
        ("$KEY", "$KEY"),
        ("100$", "100$"),
        ("${LINE}", "value"),
    ],
)
def test_environment(written: str, text: str) -> None:
    environ = {"KEY": "k3y", "EMPTY": "", "LINE": "value\r\n"}
    assert upstream_of(f"cloud: '{written}'", environ).chains[0].upstreams[1].cloud == text


def test_braces_forgotten_are_warned_of_only_where_the_name_is_a_variable() -> None:
    config = upstream_of("headers: {A: $TOKEN, B: pa$SWORD}", {"TOKEN": "t"})
    assert config.warnings == ("f.yaml:6: $TOKEN is left as it is; write ${TOKEN} for its value",)
    assert config.chains[0].upstreams[1].headers["A"] == "$TOKEN"


def test_anchors_without_a_user_need_no_environment() -> None:
    load(f"x-unused: ${{NOT_SET}}\nchains:\n  - name: ethereum{TWO}")


# --------------------------------------------------------------------------
# Anchors and merge keys


def test_anchors_and_merge_keys() -> None:
    config = load(
        """
x-aws: &aws {cloud: aws, region: us-east-1, tier: backup}
x-paid: &paid {rate_limit: 10/s, tier: primary}
chains:
  - name: ethereum
    upstreams: &both
      - {<<: *aws, url: https://a.com, region: eu-west-1}
      - {<<: [*paid, *aws], url: https://b.com}
  - name: base
    upstreams: *both
"""
    )
    first, second = config.chains[0].upstreams
    assert (first.cloud, first.region, first.tier) == ("aws", "eu-west-1", "backup")
    assert (second.cloud, second.tier, second.rate_limit_per_second) == ("aws", "primary", 10.0)
    assert config.chains[1].upstreams == config.chains[0].upstreams


# --------------------------------------------------------------------------
# Names


def test_derived_names_are_unique_and_leave_given_ones_alone() -> None:
    config = load(
        """
chains:
  - name: ethereum
    upstreams:
      - https://a.publicnode.com
      - https://b.publicnode.com
      - {name: publicnode-2, url: https://c.publicnode.com}
      - http://127.0.0.1:8545
      - http://[::1]:8545
"""
    )
    assert [u.name for u in config.chains[0].upstreams] == [
        "publicnode",
        "publicnode-3",
        "publicnode-2",
        "127.0.0.1:8545",
        "[::1]:8545",
    ]


def test_a_name_of_another_chain_may_be_used_again() -> None:
    config = load(f"chains:\n  - name: ethereum{TWO}  - name: base{TWO}")
    assert config.chains[0].upstreams[0].name == config.chains[1].upstreams[0].name == "a"


# --------------------------------------------------------------------------
# How transactions are sent and kept: the server's, and what a chain says instead

SENDS = [
    ("journal: on", "journal", Journal()),
    ("journal: yes", "journal", Journal()),
    ("journal: {}", "journal", Journal()),
    ("journal: off", "journal", Journal(is_on=False)),
    ("journal: 'no'", "journal", Journal(is_on=False)),
    ("journal: /var/lib/rpcproxy", "journal", Journal(path="/var/lib/rpcproxy")),
    ("journal: ${DIR}", "journal", Journal(path="/from/outside")),
    ("journal: {path: here}", "journal", Journal(path="here")),
    ("journal: {on_failure: pass}", "journal", Journal(on_failure="pass")),
    (
        "journal: {path: '${DIR}', on_failure: refuse}",
        "journal",
        Journal(path="/from/outside", on_failure="refuse"),
    ),
    ("accept_while_down: true", "accept_while_down", True),
    ("accept_while_down: ${SWITCH}", "accept_while_down", True),
    ("accept_while_down: no", "accept_while_down", False),
    ("private_fallback: after 30s", "private_fallback_seconds", 30.0),
    ("private_fallback: after  1.5m", "private_fallback_seconds", 90.0),
    ("private_fallback: after ${WAIT}", "private_fallback_seconds", 45.0),
    ("private_fallback: off", "private_fallback_seconds", 0.0),
    ("private_fallback: 'off'", "private_fallback_seconds", 0.0),
]
OUTSIDE = {"DIR": "/from/outside", "SWITCH": "on", "WAIT": "45s"}


@pytest.mark.parametrize(("keys", "attribute", "value"), SENDS)
def test_sends_of_the_server(keys: str, attribute: str, value: object) -> None:
    config = server_of(f"server:\n  {keys}", OUTSIDE)
    assert getattr(config.server, attribute) == value
    assert getattr(config.chains[0], attribute) is None  # the server's is meant
    assert config.warnings == ()


@pytest.mark.parametrize(("keys", "attribute", "value"), SENDS)
def test_sends_of_a_chain(keys: str, attribute: str, value: object) -> None:
    config = chain_of(keys, OUTSIDE)
    assert getattr(config.chains[0], attribute) == value
    assert getattr(config.server, attribute) == getattr(load(SHORTEST).server, attribute)
    assert config.warnings == ()


def test_sends_unless_told_otherwise() -> None:
    server = load(SHORTEST).server
    assert server.journal == Journal(is_on=True, path=None, on_failure="refuse")
    assert server.accept_while_down is False
    assert server.private_fallback_seconds == 0.0
    assert server_of("server:\n  journal:").server.journal == server.journal


def test_what_a_chain_says_stands_in_place_of_the_servers() -> None:
    config = load(
        "server:\n  journal: {path: /all, on_failure: pass}\n  accept_while_down: on\n"
        f"  private_fallback: after 1m\nchains:\n  - name: ethereum{TWO}"
        f"  - name: base\n    journal: /own\n    accept_while_down: off\n"
        f"    private_fallback: off{TWO}"
    )
    place = StatePlace.of(config)
    ethereum, base = (SendSettings.of(chain, config.server, place) for chain in config.chains)
    assert ethereum[:4] == (Path("/all/ethereum.sqlite"), False, True, 60.0)
    assert base[:4] == (
        Path("/own/base.sqlite"),
        True,
        False,
        0.0,
    )  # and refuses, unlike the server's


# --------------------------------------------------------------------------
# Known chains


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("name: mainnet", ("mainnet", 1, 12.0, 1)),
        ("name: Base", ("Base", 8453, 2.0, 2)),
        ("{name: base, chain_id: 8453, block_time: 1s, max_lag: 9}", ("base", 8453, 1.0, 9)),
        ("{name: mine, chain_id: 8453}", ("mine", 8453, 2.0, 2)),
        ("{name: mine, chain_id: 31337}", ("mine", 31337, 12.0, 2)),
        ("{name: '8453', chain_id: 8453}", ("8453", 8453, 2.0, 2)),
    ],
)
def test_what_is_known_is_filled_in(keys: str, expected: tuple[str, int, float, int]) -> None:
    keys = keys.strip("{}").replace(", ", "\n    ")
    (chain,) = load(f"chains:\n  - {keys}{TWO}").chains
    found = (chain.name, chain.chain_id, chain.block_time_seconds, chain.max_lag_blocks)
    assert found == expected


# --------------------------------------------------------------------------
# Warnings


@pytest.mark.parametrize("key", ["workers", "exchange", "redis"])
def test_server_keys_of_later_versions(key: str) -> None:
    config = server_of(f"server:\n  {key}: {{any: [thing]}}")
    assert config.warnings == (f"f.yaml:2: {key} is accepted but has no effect yet",)


@pytest.mark.parametrize("key", ["finality"])
def test_chain_keys_of_later_versions(key: str) -> None:
    config = chain_of(f"{key}: 3")
    assert config.warnings == (f"f.yaml:3: {key} is accepted but has no effect yet",)


def test_a_later_key_is_warned_of_once() -> None:
    config = load(
        """
chains:
  - name: ethereum
    finality: 3
    upstreams: &both [https://a.com, https://b.com]
  - name: base
    finality: 3
    upstreams: *both
"""
    )
    assert config.warnings == (
        "f.yaml:4: finality is accepted but has no effect yet (also on line 7)",
    )


def test_a_websocket_address_is_taken_without_a_warning() -> None:
    config = upstream_of("ws_url: wss://a.com/${KEY}", {"KEY": "k3y"})
    assert config.warnings == ()
    assert config.chains[0].upstreams[1].ws_url == "wss://a.com/k3y"


@pytest.mark.parametrize(
    ("upstreams", "warning"),
    [
        (
            "[https://a.com]",
            "chain 'base' has only one upstream: when it goes down, nobody can serve",
        ),
        (
            "[https://a.com, {url: https://b.com, role: sends}]",
            "chain 'base' has only one upstream for reads: when it goes down, nobody can serve",
        ),
        (
            "[https://x.a.com, https://y.a.com]",
            (
                "all upstreams of chain 'base' are of provider 'a': "
                "when that company goes down, nobody can serve"
            ),
        ),
        (
            "[{url: https://a.com, cloud: aws}, {url: https://b.com, cloud: aws}]",
            (
                "all upstreams of chain 'base' run on cloud 'aws': "
                "when that cloud goes down, nobody can serve"
            ),
        ),
        (
            "[{url: https://a.com, role: reads}, {url: https://b.com, role: reads}]",
            "every upstream of chain 'base' has role: reads: no transaction can be sent",
        ),
        (
            "[https://a.com/SECRET, {url: https://a.com/SECRET/, provider: b}]",
            "upstreams 'a' and 'a-2' of chain 'base' have the same URL: they fail together",
        ),
    ],
)
def test_what_is_seldom_wise(upstreams: str, warning: str) -> None:
    config = load(f"chains:\n  - name: base\n    upstreams: {upstreams}")
    assert config.warnings == (f"f.yaml:3: {warning}",)


def test_an_attempt_as_long_as_the_deadline_is_warned_of() -> None:
    (warning,) = chain_of("attempt_timeout: 5s").warnings
    assert warning == (
        "f.yaml:4: chain 'ethereum': attempt_timeout (5s) is not below deadlines.light (4.5s), "
        "so a hanging upstream leaves no time for another"
    )


def test_two_chains_of_one_id_are_warned_of() -> None:
    config = load(f"chains:\n  - name: ethereum{TWO}  - name: mainnet{TWO}")
    assert config.warnings == (
        "f.yaml:4: chains 'ethereum' and 'mainnet' have the same chain_id: /1 reaches the first",
    )


# --------------------------------------------------------------------------
# Secrets


def test_representations_hold_no_urls_and_no_headers() -> None:
    config = upstream_of("ws_url: wss://a.com/SECRET\n        headers: {A: SECRET}")
    assert config.chains[0].upstreams[1].headers == {"A": "SECRET"}
    for told in (repr(config), str(config), repr(config.chains[0].upstreams[1])):
        assert "SECRET" not in told
        assert "a.com" not in told
