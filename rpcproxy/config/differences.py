"""What a new configuration changes, in words that name keys as they are written. Pure.

Nothing that may be a secret is told: of URLs, headers, tokens and proxies, only that they changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rpcproxy.config.keys.chain_keys import CHAIN, DEADLINES
from rpcproxy.config.keys.operation_keys import HISTORY, NOTICE
from rpcproxy.config.keys.sends_keys import JOURNAL
from rpcproxy.config.keys.server_keys import CACHE, LIMITS, SERVER, TLS
from rpcproxy.config.keys.upstream_keys import UPSTREAM
from rpcproxy.config.model import (
    Address,
    Cache,
    Chain,
    Config,
    Deadlines,
    Frozen,
    History,
    Journal,
    Limits,
    Notice,
    Server,
    Tls,
    Upstream,
)
from rpcproxy.config.reading.reading import Section

_SECTIONS: Final[Mapping[type[Frozen], Section]] = {
    Server: SERVER,
    Tls: TLS,
    Limits: LIMITS,
    Cache: CACHE,
    History: HISTORY,
    Journal: JOURNAL,
    Chain: CHAIN,
    Deadlines: DEADLINES,
    Upstream: UPSTREAM,
    Notice: NOTICE,
}
# Listed one by one; or where a value came from, which nobody wrote.
_APART: Final = {"upstreams", "name", "provider_guessed", "genesis_guessed"}
_PLAIN: Final = (str, int, float, bool, type(None))
_WORDS: Final = {"None": "none", "True": "yes", "False": "no"}
_LONGEST_VALUE: Final = 40


def differences(before: Config, after: Config) -> list[str]:
    """What changed, each in a few words; empty where nothing did."""
    found = [f"server.{words}" for words in _changed(before.server, after.server)]
    found += _members("chain", before.chains, after.chains)
    for chain, new in _both(before.chains, after.chains):
        found += [f"{chain.name}: {words}" for words in _of_chain(chain, new)]
    if before.notify != after.notify:
        found.append("notify changed")
    return found


def _of_chain(before: Chain, after: Chain) -> Iterator[str]:
    yield from _changed(before, after)
    yield from _members("upstream", before.upstreams, after.upstreams)
    for upstream, new in _both(before.upstreams, after.upstreams):
        for words in _changed(upstream, new):
            yield f"upstream {new.name}: {words}"
    names = [each.name for each in before.upstreams]
    told = [each.name for each in after.upstreams]
    if names != told and sorted(names) == sorted(told):
        yield "its upstreams are in another order"


def _members(
    what: str, before: Sequence[Chain | Upstream], after: Sequence[Chain | Upstream]
) -> Iterator[str]:
    old, new = {each.name for each in before}, {each.name for each in after}
    yield from (f"{what} {each.name} added" for each in after if each.name not in old)
    yield from (f"{what} {each.name} removed" for each in before if each.name not in new)


def _both(before: Sequence[Any], after: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Those that were there, and are."""
    known = {each.name: each for each in before}
    return ((known[each.name], each) for each in after if each.name in known)


def _changed(before: Frozen, after: Frozen) -> Iterator[str]:
    section = _SECTIONS.get(type(after))
    keys = {} if section is None else {row.attribute: row.name for row in section.rows}
    for name, field in type(after).model_fields.items():
        old, new = getattr(before, name), getattr(after, name)
        if old == new or name in _APART:
            continue
        key = keys.get(name, name)
        if not field.repr:
            yield f"{key} changed"
        elif isinstance(old, Frozen) and type(old) is type(new) and not isinstance(new, Address):
            yield from (f"{key}.{words}" for words in _changed(old, new))
        else:
            yield _from_to(key, _value(old), _value(new))


def _from_to(key: str, old: str | None, new: str | None) -> str:
    return f"{key} changed" if old is None or new is None else f"{key} {old} -> {new}"


def _value(value: object) -> str | None:
    """As it may be told; ``None`` for what is too much."""
    if isinstance(value, Address):
        return f"{value.host}:{value.port}"
    if not isinstance(value, _PLAIN):
        return None
    words = _WORDS[str(value)] if value is None or isinstance(value, bool) else f"{value}"
    return words if len(words) <= _LONGEST_VALUE else None
