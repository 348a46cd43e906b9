"""The page at ``/`` on the wallet port: which networks there are, the URL for a wallet, a button
that adds it, how it stands now. Pure.

The script asks wallets to add the network (EIP-3085), those that announce themselves (EIP-6963)
one by one; without it the page can be read, and the URL copied by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rpcproxy.chains.native import DECIMALS, native_of, title_of
from rpcproxy.front.pages.markup import Markup, Shell, join, tag
from rpcproxy.front.pages.outlook import ChainOutlook
from rpcproxy.front.pages.wording import MARKS

SHELL: Final = Shell(styles=("pages.css", "landing.css"), script="landing.js")

Outlooks = Mapping[str, ChainOutlook]


def landing(
    base: str,
    chains: Sequence[Mapping[str, Any]],
    outlooks: Outlooks,
    *,
    here: str,
    status_path: str | None = None,
) -> str:
    """The page. ``base`` is scheme, host and port as they came; ``here`` the path that was asked.
    ``outlooks`` by chain: ``level`` and ``sentence``, where they are known.
    """
    networks = [_network(base, chain, outlooks.get(str(chain["name"]))) for chain in chains]
    names = ", ".join(_title(chain) for chain in chains[:3])
    title = names if len(chains) <= 3 else f"{names} and {len(chains) - 3} more"
    lead = "One address for your wallet. Behind it several providers answer, so that none of them "
    lead += "is missed when it is down."
    status_link = None
    if status_path is not None:
        status_link = tag("p", tag("a", "Status in full", href=status_path, id="status"))
    body = join(
        tag("header", tag("p", "rpcproxy", class_="brand")),
        tag(
            "main",
            tag("h1", title or "No network is served here"),
            tag("p", lead, class_="lead"),
            tag("noscript", tag("p", _WITHOUT_SCRIPT, class_="quiet")),
            *networks,
            _by_hand(base, chains),
            status_link,
            id="main",
            data_here=here,
        ),
    )
    return SHELL.page(f"{title} · RPC" if title else "rpcproxy", body)


_WITHOUT_SCRIPT: Final = (
    "The buttons need JavaScript. Without it, copy the URL into your wallet’s network settings."
)


def _title(chain: Mapping[str, Any]) -> str:
    return title_of(str(chain["name"]))


def _network(base: str, chain: Mapping[str, Any], outlook: ChainOutlook | None) -> Markup:
    name, paths = str(chain["name"]), [str(path) for path in chain["paths"]]
    identity = str(chain["identity"])
    native = native_of(name, str(chain["kind"]), identity)
    asked: dict[str, Any] = {
        "chainId": hex(int(chain["chain_id"])),
        "chainName": native.title,
        "nativeCurrency": {
            "name": native.symbol,
            "symbol": native.symbol,
            "decimals": DECIMALS,
        },
    }
    if native.explorer:
        asked["blockExplorerUrls"] = [native.explorer]
    others = [tag("code", f"{base}{path}", data_path=path) for path in paths[1:]]
    also = tag("p", "Also at ", _listed(others), class_="quiet") if others else None
    standing = None
    if outlook is not None:
        level = outlook["level"]
        mark = tag("span", MARKS[level], class_=f"mark {level}", aria_hidden="true")
        standing = tag("p", mark, outlook["sentence"], class_="standing", id=f"standing-{name}")
    return tag(
        "section",
        tag("h2", native.title, tag("span", f" chain id {identity}"), id=f"chain-{name}"),
        standing,
        tag(
            "div",
            tag("code", f"{base}{paths[0]}", data_path=paths[0], class_="url"),
            tag("button", "Copy", class_="copy", type="button", hidden=True,
                aria_label=f"Copy the URL for {native.title}"),
            class_="address",
        ),
        tag("div", class_="wallets", data_add=json.dumps(asked), data_path=paths[0]),
        tag("p", class_="outcome", role="status"),
        also,
        aria_labelledby=f"chain-{name}",
        class_="network",
    )  # fmt: skip


def _listed(parts: Sequence[Markup]) -> Markup:
    between = [join(", " if at else None, part) for at, part in enumerate(parts)]
    return join(*between)


def example_call(chain: Mapping[str, Any]) -> str:
    """The JSON text of a call to try a chain with."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": chain["asks"], "params": []})


def _by_hand(base: str, chains: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not chains:
        return None
    path = str(chains[0]["paths"][0])
    call = example_call(chains[0])
    command = join("curl ", tag("span", f"{base}{path}", data_path=path), f" -d '{call}'")
    return tag(
        "details",
        tag("summary", "For programs"),
        tag("pre", tag("code", command), tabindex="0"),
    )
