"""Nodes of one's own, for a first configuration: a URL, and which chain answers there.

No state.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from rpcproxy.app.checkup.asking import Asker, AskSettings
from rpcproxy.chains.registry import KINDS
from rpcproxy.config.model import KnownChain, Upstream
from rpcproxy.config.problems import Unfit, quoted
from rpcproxy.config.providers import Keyed
from rpcproxy.config.reading.environment import expand
from rpcproxy.config.urls import UrlTarget, check, guess_provider, is_loopback
from rpcproxy.messages import Verdict
from rpcproxy.rules.answers.outage import in_words

EXAMPLE: Final = "http://127.0.0.1:8545"
USUAL_BLOCK_SECONDS: Final = 12.0
USUAL_LAG_BLOCKS: Final = 2
_WEB: Final = ("https", "http")
_BARE: Final = re.compile(r"(localhost|[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# As long as that, a part of a path is a key.
_LOOKS_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{28}")


class OwnNode(NamedTuple):
    """``template`` is what is written in the file, ``url`` the same filled in."""

    template: str
    url: str
    place: UrlTarget

    @property
    def provider(self) -> str:
        return guess_provider(self.place)

    def entry(self, chain: str) -> Keyed:
        """Of a chain, as an upstream that comes before public ones."""
        variable = _VARIABLE.fullmatch(self.template)
        name = "" if variable is None else variable[1]
        return Keyed(chain, self.provider, name, self.template, self.url)

    def has_port(self, port: int) -> bool:
        """Whether it is where a proxy on this machine would listen."""
        return self.place.port == port and is_loopback(self.place.host)


def own_node(word: str, environ: Mapping[str, str]) -> OwnNode | None:
    """The node of a URL, or of ``${NAME}`` where the variable holds one; ``None`` for another word.
    Raises ``Unfit`` with a sentence.
    """
    template = f"http://{word}" if _BARE.fullmatch(word) else word
    if "://" not in template and not template.startswith("${"):
        return None
    url = template
    try:
        if template.startswith("${"):
            url = expand(template, environ)
        elif "@" in template or _LOOKS_SECRET.search(template.partition("://")[2]):
            raise Unfit("holds a key", "it in a variable, and ${NAME} here")  # noqa: TRY301 -- worded below
        place = check(url, template, _WEB)
    except Unfit as unfit:
        raise Unfit(unfit.about("the URL")) from None
    return OwnNode(template, url, place)


async def ask_chain(node: OwnNode, settings: AskSettings) -> tuple[str, str]:
    """Kind and identity of the chain that answers there. Raises ``Unfit`` with a sentence."""
    upstream = Upstream(name="own", provider=node.provider, url=node.url)
    words = "no kind of chain is known"
    for kind in KINDS.values():
        asker = Asker(upstream, settings, kind.errors)
        try:
            async with asyncio.timeout(settings.total_seconds):
                found = await asker.inquire(kind.questions.identity())
            if found.judgement.verdict is Verdict.OK and found.value is not None:
                return kind.name, found.value
            words = asker.redact(in_words(found.judgement))
        except TimeoutError:
            words = f"no answer in {settings.total_seconds:g} s"
        finally:
            await asker.close()
    where = quoted(node.template).strip("'")
    raise Unfit(f"the node at {where} does not say which chain it is on: {' '.join(words.split())}")


def unknown_chain_of(name: str, kind: str, identity: str, block_seconds: float) -> KnownChain:
    """A chain that nobody described so far. ``identity`` is digits."""
    return KnownChain(
        name=name,
        kind=kind,
        chain_id=int(identity),
        block_time_seconds=block_seconds,
        max_lag_blocks=USUAL_LAG_BLOCKS,
    )
