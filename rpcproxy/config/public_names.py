"""What strangers may call an upstream: wallets in their errors, and whoever sees a public page.

An upstream that was given as a bare URL is named after its provider; a node of one's own, which has
none, after its host and port. Those are for operators: in public it is ``upstream-2``, the second
of its chain. So is a name that somebody wrote himself and that is an address. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from rpcproxy.config.urls import is_host
from rpcproxy.reasons import veiled

_COUNTED: Final = re.compile(r"-\d+$")
_WITH_PORT: Final = re.compile(r"(?P<host>\[.+\]|[^\[\]]+):\d{1,5}")


class Named(Protocol):
    """A part of ``model.Upstream``."""

    @property
    def name(self) -> str: ...

    @property
    def provider(self) -> str: ...


def is_address(name: str) -> bool:
    """Whether a name tells where a node listens: a host with its port, or an IP address. One of
    several that have the same is counted, such as ``10.0.0.5:8545-2``.
    """
    for text in (name, _COUNTED.sub("", name)):
        bare = text.strip("[]")
        with_port = _WITH_PORT.fullmatch(text)
        if with_port is not None and is_host(with_port["host"].strip("[]")):
            return True
        if (":" in bare or bare.replace(".", "").isdigit()) and is_host(bare):
            return bool(bare.count(".") == 3 or ":" in bare)
    return False


def public_names(upstreams: Iterable[Named]) -> dict[str, str]:
    """By name, what each is called in public; no two alike, and the same after a restart."""
    listed = list(upstreams)
    taken = {each.name.casefold() for each in listed}
    found: dict[str, str] = {}
    for place, each in enumerate(listed, 1):
        public = each.name
        if is_address(public):
            public = f"upstream-{place}"
            while public.casefold() in taken:
                public += "-own"
            taken.add(public.casefold())
        found[each.name] = public
    return found


class Veil:
    """Takes out of texts and pages what is for operators: names that are addresses become public
    ones, and what ``reasons.veiled`` knows is hidden. Of one chain.
    """

    def __init__(self, upstreams: Sequence[Named]) -> None:
        self.names: Mapping[str, str] = public_names(upstreams)
        # A fault domain that is an address is called after the first who is in it.
        domains = {
            each.provider: self.names[each.name]
            for each in reversed(upstreams)
            if is_address(each.provider)
        }
        private = {name: public for name, public in self.names.items() if name != public}
        self._called = domains | private
        longest_first = sorted(self._called, key=len, reverse=True)
        words = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(rf"(?<![\w.-])(?:{words})(?![\w])") if words else None

    def __call__(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(lambda found: self._called[found[0]], text)
        return veiled(text)

    def over(self, content: Any) -> Any:  # noqa: ANN401 -- of the type it has
        """Plain values, keys of mappings too."""
        if isinstance(content, str):
            return self(content)
        if isinstance(content, dict):
            return {self(str(key)): self.over(value) for key, value in content.items()}
        if isinstance(content, list | tuple):
            return [self.over(value) for value in content]
        return content
