"""What is allowed in a configuration and seldom wise, in sentences for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rpcproxy.config.model import Chain
from rpcproxy.config.problems import listed, quoted


def chain_warnings(chain: Chain) -> Iterator[str]:
    """Sentences about one chain, without line numbers."""
    yield from single_point_warnings(chain)
    yield from _roles(chain)
    yield from _times(chain)
    yield from _same_urls(chain)


def single_point_warnings(chain: Chain) -> Iterator[str]:
    """Those of ``chain_warnings`` that ``rpcproxy check`` has more to say of."""
    readers = [upstream for upstream in chain.upstreams if upstream.role != "sends"]
    name = quoted(chain.name)
    if len(readers) == 1:
        only = "only one upstream" if len(chain.upstreams) == 1 else "only one upstream for reads"
        yield f"chain {name} has {only}: when it goes down, nobody can serve"
        return
    providers = {upstream.provider for upstream in readers}
    if len(providers) == 1:
        yield (
            f"all upstreams of chain {name} are of provider {quoted(providers.pop())}: "
            "when that company goes down, nobody can serve"
        )
        return
    clouds = {upstream.cloud for upstream in readers}
    if len(clouds) == 1 and "unknown" not in clouds:
        yield (
            f"all upstreams of chain {name} run on cloud {quoted(clouds.pop())}: "
            "when that cloud goes down, nobody can serve"
        )


def _roles(chain: Chain) -> Iterator[str]:
    if all(upstream.role == "reads" for upstream in chain.upstreams):
        yield (
            f"every upstream of chain {quoted(chain.name)} has role: reads: "
            "no transaction can be sent"
        )


def _times(chain: Chain) -> Iterator[str]:
    if chain.attempt_timeout_seconds >= chain.deadlines.light_seconds:
        yield (
            f"chain {quoted(chain.name)}: attempt_timeout ({chain.attempt_timeout_seconds:g}s) is "
            f"not below deadlines.light ({chain.deadlines.light_seconds:g}s), so a hanging "
            "upstream leaves no time for another"
        )


def _same_urls(chain: Chain) -> Iterator[str]:
    by_url: dict[str, list[str]] = {}
    for upstream in chain.upstreams:
        by_url.setdefault(upstream.url.rstrip("/"), []).append(quoted(upstream.name))
    for names in by_url.values():
        if len(names) > 1:
            yield (
                f"upstreams {listed(names, 'and')} of chain {quoted(chain.name)} have the same "
                "URL: they fail together"
            )
